//! The commands: each in its own file, all of them thin over the library.
//!
//! The exit status is 0 when what was asked for happened and 1 otherwise; 2 is a command line that is not understood.

mod call;
mod check;
mod dev_secret;
mod dev_state;
mod fault_flag;
mod fleet;
mod fleet_report;
mod hangup;
mod machine_report;
mod metrics;
mod private_file;
mod prompt;
mod serve;
mod server_certificate;
mod server_report;
mod simulate;
mod simulators;
mod state_lock;
mod stop;
mod store_report;
mod terminal;
mod token;
mod top;
mod users;

use std::ffi::OsString;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::task::LocalSet;

use crate::config::{self, ConfigError, ConfigFile, Environment, Settings};

pub use dev_secret::DevSecretError;
pub use dev_secret::read_or_make as development_secret;
pub use dev_state::{DevState, DevStateError};
pub use server_certificate::{ServerCertificateError, make as make_server_certificate};
pub use stop::StopSignals;

/// Puts app users through to full-duplex voice models.
#[derive(Debug, Parser)]
#[command(name = "tandem", version, about, args_conflicts_with_subcommands = true)]
struct Tandem {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answers calls (also without any command).
    Serve(serve::ServeArguments),
    /// Places a call: a WAV file speaks, the reply becomes another.
    Call(call::CallArguments),
    /// Prints a token that lets a user call.
    Token(token::TokenArguments),
    /// Runs a PersonaPlex server without a model.
    Simulate(simulate::SimulateArguments),
    /// Prints the prompt that a persona gets for a user, what it costs, and what was cut.
    Prompt(prompt::PromptArguments),
    /// Checks the configuration and whether the model servers are up.
    Check(check::CheckArguments),
    /// Shows the machines of a running Tandem: what they do, and what they cost.
    Fleet(fleet::FleetArguments),
    /// Shows the calls, model servers, queue and machines of a running Tandem, live.
    Top(top::TopArguments),
    /// Prints every series that a running Tandem exports, as the page docs/metrics.md.
    Metrics,
    /// Takes a file of users and journals in.
    Import(users::ImportArguments),
    /// Makes a user known, or removes what is kept of one.
    User(users::UserArguments),
}

/// Which configuration a command reads.
#[derive(Clone, Debug, Default, clap::Args)]
struct ConfigArguments {
    /// The configuration file; without it `tandem.toml` in this directory, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArguments {
    /// The settings, or every problem as a line.
    fn load(&self, environment: &Environment) -> Result<Settings, String> {
        self.judge(environment).map_err(|error| error.to_string())
    }

    /// The settings, or every problem.
    fn judge(&self, environment: &Environment) -> Result<Settings, ConfigError> {
        config::load(ConfigFile::find(self.config.as_deref(), Path::new("."))?.as_ref(), environment)
    }
}

/// Runs the program with its arguments, the first of which is its name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let tandem = match Tandem::try_parse_from(arguments) {
        Ok(tandem) => tandem,
        Err(error) => {
            // Help and version are asked for and go to standard output; where the rest goes nobody can be told.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let outcome = match tandem.command {
        None => serve::serve(&tandem.serve),
        Some(Command::Serve(arguments)) => serve::serve(&arguments),
        Some(Command::Call(arguments)) => block_on(call::call(&arguments)),
        Some(Command::Token(arguments)) => token::token(&arguments).map(|()| ExitCode::SUCCESS),
        Some(Command::Simulate(arguments)) => block_on(simulate::simulate(&arguments)),
        Some(Command::Prompt(arguments)) => prompt::prompt(&arguments).map(|()| ExitCode::SUCCESS),
        // Sockets to model servers belong to one thread.
        Some(Command::Check(arguments)) => {
            block_on(async { LocalSet::new().run_until(check::check(&arguments)).await })
        }
        Some(Command::Fleet(arguments)) => {
            block_on(async { LocalSet::new().run_until(fleet::fleet(&arguments)).await })
        }
        Some(Command::Top(arguments)) => block_on(async { LocalSet::new().run_until(top::top(&arguments)).await }),
        Some(Command::Metrics) => metrics::print(),
        Some(Command::Import(arguments)) => block_on(users::import(&arguments)),
        Some(Command::User(arguments)) => block_on(users::user(arguments)),
    };
    outcome.unwrap_or_else(|sentence| {
        terminal::status(format!("tandem: {sentence}"));
        ExitCode::FAILURE
    })
}

/// Runs a command on a runtime of its own.
fn block_on(command: impl Future<Output = Result<ExitCode, String>>) -> Result<ExitCode, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the system gives no runtime: {error}"))?
        .block_on(command)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_serves_when_nothing_is_said() {
        Tandem::command().debug_assert();
        let parse = |words: &[&str]| Tandem::try_parse_from(words);
        assert!(parse(&["tandem"]).unwrap().command.is_none());
        assert_eq!(parse(&["tandem", "--port", "9000"]).unwrap().serve.port, Some(9000));
        assert!(matches!(parse(&["tandem", "serve", "--production"]).unwrap().command, Some(Command::Serve(_))));
        assert!(parse(&["tandem", "--port", "9000", "check"]).is_err());
        assert!(parse(&["tandem", "answer"]).is_err());
    }
}
