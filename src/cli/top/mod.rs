//! `tandem top`: a running Tandem on a screen, live, as `/admin` tells of it.

mod draw;
mod feed;
mod keys;
mod screen;
mod snapshot;
mod tables;

use std::io::{IsTerminal as _, stdout};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use self::feed::{Feed, Trouble};
use self::keys::{Key, Keys};
use self::screen::Screen;
use self::snapshot::{Snapshot, View};
use super::{ConfigArguments, StopSignals, fleet, terminal};
use crate::config;

/// The variable that holds the token, so that it need not stand on the command line where others can see it.
const TOKEN_VARIABLE: &str = "TANDEM_ADMIN_TOKEN";
/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// After a token that is wrong: a Tandem takes only so many of them in a minute.
const AFTER_WRONG_TOKEN: Duration = Duration::from_secs(10);

/// Which Tandem to look at.
#[derive(Debug, Args)]
pub(super) struct TopArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The Tandem to look at, for example https://voice.example; without it the one that runs here.
    #[arg(long)]
    url: Option<String>,
    /// Looks once and prints what it sees as plain text, for pipes.
    #[arg(long)]
    once: bool,
}

/// Looks once, or again and again until somebody presses q.
pub(super) async fn top(arguments: &TopArguments) -> Result<ExitCode, String> {
    let feed = feed(arguments)?;
    if arguments.once {
        let snapshot = feed.look().await.map_err(|trouble| trouble.to_string())?;
        let view = View { snapshot: Some(snapshot), ..View::new(feed.url()) };
        terminal::say(draw::plain(&view, screen::columns()));
        return Ok(ExitCode::SUCCESS);
    }
    if !stdout().is_terminal() {
        return Err("there is no terminal to draw on; --once prints what there is to see".to_owned());
    }
    watch(feed).await
}

/// Whom to ask, and with what.
fn feed(arguments: &TopArguments) -> Result<Feed, String> {
    let environment = config::process_environment();
    let token = environment.get(TOKEN_VARIABLE).filter(|token| !token.is_empty());
    let token = token.map(|token| SecretString::from(token.as_str()));
    if let (Some(url), Some(token)) = (&arguments.url, &token) {
        return Ok(Feed::new(fleet::base(url)?, token.clone()));
    }
    let settings = arguments.config.load(&environment)?;
    let url = arguments.url.as_ref().map_or_else(|| fleet::here(&settings), |url| fleet::base(url))?;
    let token = token.or(settings.auth.admin_token).filter(|token| !token.expose_secret().is_empty());
    let token = token.ok_or_else(|| {
        format!(
            "there is no token to show: set {TOKEN_VARIABLE} to what it is where that Tandem runs (auth.admin_token)"
        )
    })?;
    Ok(Feed::new(url, token))
}

/// Draws until somebody has seen enough. The terminal is as it was afterwards, however this ends.
async fn watch(feed: Feed) -> Result<ExitCode, String> {
    let deaf = |error: std::io::Error| format!("signals cannot be heard: {error}");
    let (mut signals, mut hangup) = (StopSignals::listen().map_err(deaf)?, signal(SignalKind::hangup()).map_err(deaf)?);
    let mut screen = Screen::take().map_err(|error| format!("the terminal cannot be drawn on: {error}"))?;
    let mut keys = Keys::listen();
    let (mut view, mut seen) = (View::new(feed.url()), Instant::now());
    let mut look = look_after(&feed, Duration::ZERO);
    loop {
        view.age = seen.elapsed();
        screen.draw(&view).map_err(|error| format!("the terminal cannot be drawn on: {error}"))?;
        tokio::select! {
            key = keys.next() => match key {
                Some(Key::Quit) | None => return Ok(ExitCode::SUCCESS),
                Some(Key::Resized) => {}
            },
            () = signals.next() => return Ok(ExitCode::SUCCESS),
            _ = hangup.recv() => return Ok(ExitCode::SUCCESS),
            looked = &mut look => {
                let pause = match &looked {
                    Err(Trouble::WrongToken(_)) => AFTER_WRONG_TOKEN,
                    _ => EVERY,
                };
                if looked.is_ok() {
                    seen = Instant::now();
                }
                view.take(looked);
                look = look_after(&feed, pause);
            }
            // What is on the screen grows old, and says so.
            () = sleep(EVERY) => {}
        }
    }
}

fn look_after(feed: &Feed, pause: Duration) -> Pin<Box<dyn Future<Output = Result<Snapshot, Trouble>> + '_>> {
    Box::pin(async move {
        sleep(pause).await;
        feed.look().await
    })
}
