//! `tandem serve`: answers calls.

use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;

use crate::config::{self, Environment, Settings};

use super::ConfigArguments;

/// How to serve; what is not said is taken from the configuration.
#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// The IP address to listen on.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) host: Option<IpAddr>,
    /// The TCP port to listen on; 0 takes any free one.
    #[arg(long)]
    pub(super) port: Option<u16>,
    /// Demands secrets and model servers, as production does.
    #[arg(long)]
    pub(super) production: bool,
}

impl ServeArguments {
    /// What the flags say, as the variables that they stand for; a flag is stronger than a variable.
    fn over(&self, mut environment: Environment) -> Environment {
        let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
        if let Some(host) = self.host {
            set("TANDEM__LISTEN__HOST", host.to_string());
        }
        if let Some(port) = self.port {
            set("TANDEM__LISTEN__PORT", port.to_string());
        }
        if self.production {
            set("TANDEM__MODE", "production".to_owned());
        }
        environment
    }
}

/// Reads the configuration and serves until it is told to stop.
pub(super) fn serve(arguments: &ServeArguments) -> Result<ExitCode, String> {
    let environment = arguments.over(config::process_environment());
    run(arguments.config.load(&environment)?)
}

/// Serves with these settings.
fn run(_settings: Settings) -> Result<ExitCode, String> {
    Err("this build has no gateway".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_stronger_than_variables() {
        let arguments = ServeArguments {
            config: ConfigArguments::default(),
            host: Some("127.0.0.9".parse().unwrap()),
            port: Some(0),
            production: false,
        };
        let environment = [("PORT", "1"), ("TANDEM__LISTEN__PORT", "2"), ("TANDEM__LISTEN__HOST", "127.0.0.2")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let settings = config::load(None, &arguments.over(environment)).unwrap();
        assert_eq!(settings.listen.address(), "127.0.0.9:0".parse().unwrap());
        let arguments = ServeArguments { production: true, ..arguments };
        let error = config::load(None, &arguments.over(Environment::new())).unwrap_err();
        assert!(error.to_string().contains("JWT_SECRET"), "{error}");
    }
}
