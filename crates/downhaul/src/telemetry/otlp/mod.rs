//! [`Transport`]: how a signal travels to a collector over OTLP, as the environment says.

#[cfg(feature = "otlp-tls")]
mod https;
#[cfg(feature = "otlp-tls")]
mod tls;

use std::sync::Arc;

#[cfg(feature = "grpc")]
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;

#[cfg(feature = "otlp-tls")]
use self::https::Https;
#[cfg(feature = "otlp-tls")]
use self::tls::Tls;
use super::TelemetryError;
use super::driver::Driver;
use super::environment::{Environment, Protocol, Signal};

/// What carries a signal to a collector.
pub(super) enum Transport {
    Http,
    #[cfg(feature = "otlp-tls")]
    Https(Https),
    /// Encrypted unless the collector is named over `http`.
    #[cfg(feature = "grpc")]
    Grpc(Option<ClientTlsConfig>),
}

impl Transport {
    /// The one of a signal. One that takes a runtime gets it of `driver`.
    pub(super) fn of(
        signal: Signal,
        environment: &mut Environment,
        driver: &mut Option<Arc<Driver>>,
    ) -> Result<Self, TelemetryError> {
        let protocol = environment.protocol(signal)?;
        let named = environment.endpoint(signal);
        let over = |scheme: &str| {
            let named = named.as_ref()?;
            let (said, _) = named.1.split_once(':')?;
            said.eq_ignore_ascii_case(scheme).then_some(named.0)
        };
        match protocol {
            #[cfg(feature = "grpc")]
            Protocol::Grpc => {
                Driver::of(driver)?;
                let is_plain = named.is_none() || over("http").is_some();
                let tls = || Tls::read(environment, signal)?.for_grpc();
                Ok(Self::Grpc((!is_plain).then(tls).transpose()?))
            }
            Protocol::HttpProtobuf => match over("https") {
                Some(key) => Self::https(key, signal, environment, driver),
                None => Ok(Self::Http),
            },
        }
    }

    #[cfg(feature = "otlp-tls")]
    fn https(
        _named_by: &'static str,
        signal: Signal,
        environment: &Environment,
        driver: &mut Option<Arc<Driver>>,
    ) -> Result<Self, TelemetryError> {
        let config = Tls::read(environment, signal)?.for_https()?;
        let timeout = environment.timeout(signal);
        Ok(Self::Https(Https::new(config, timeout, Driver::of(driver)?)))
    }

    #[cfg(not(feature = "otlp-tls"))]
    fn https(
        key: &'static str,
        _signal: Signal,
        _environment: &Environment,
        _driver: &mut Option<Arc<Driver>>,
    ) -> Result<Self, TelemetryError> {
        Err(TelemetryError::NotBuilt { key, feature: "otlp-tls" })
    }
}
