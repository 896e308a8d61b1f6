//! What settings are for.

use bytes::Bytes;
use downhaul_http::Body;
use http_body::Body as HttpBody;
use tower_service::Service;

use super::app_config::{AppConfig, ControlConfig, HttpConfig};
use crate::app::App;
use crate::components::HttpServer;
use crate::control::Control;
use crate::error::BoxError;

impl App {
    /// Takes its grace, the time of its components to start, and its control interface from
    /// settings. What is called later goes over that.
    pub fn configure(self, config: &AppConfig) -> Self {
        let app = self.grace(config.grace).start_within(config.start_within);
        match config.control.control() {
            Some(control) => app.control(control),
            None => app,
        }
    }
}

impl ControlConfig {
    /// The control interface that these settings ask for, if they do.
    fn control(&self) -> Option<Control> {
        let control = Control::new(self.address.as_ref()?);
        Some(match &self.token {
            Some(token) => control.token(token.reveal()),
            None => control,
        })
    }
}

impl HttpConfig {
    /// A server with these settings; see [`HttpServer::new`].
    pub fn server<S, B>(&self, service: S) -> HttpServer
    where
        S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let timeout = self.timeout;
        HttpServer::new(&self.address, service)
            .configure(move |server| server.timeout(timeout))
            .lame_duck(self.lame_duck)
    }
}
