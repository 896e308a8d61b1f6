//! [`Authority`]: certificates that live as long as a test.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use crate::unique;

/// An authority and files of certificates that it has signed, in a folder that goes with it.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one that nobody trusts yet, and writes its certificate to `ca.pem`.
    ///
    /// # Errors
    ///
    /// If it cannot be made or written.
    pub fn new() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(unique("authority"));
        fs::create_dir_all(&folder)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, unique("authority"));
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
        let authority = Self { folder, issuer };
        fs::write(authority.file("ca.pem"), authority.issuer.pem())?;
        Ok(authority)
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Signs a certificate for whoever has this name, a host or a client, and writes `<name>.pem`
    /// and `<name>.key`.
    ///
    /// # Errors
    ///
    /// If it cannot be made or written.
    pub fn sign(&self, name: &str) -> io::Result<()> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(io::Error::other)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        fs::write(self.file(&format!("{name}.pem")), certificate.pem())?;
        fs::write(self.file(&format!("{name}.key")), key.serialize_pem())
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // Somebody may have cleaned up already.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
