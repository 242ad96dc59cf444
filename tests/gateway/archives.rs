//! A gateway whose records are in a directory of the test's own.

use std::{path::PathBuf, process::Command, sync::Arc};

use serde_json::Value;
use tandem::{
    auth::UserId,
    http::identity::unix_now_seconds,
    protocol::ending::Ending,
    sim::upstream,
    store::{
        archive::Archive,
        record::{Ended, Line, Origin, Record, Speaker},
    },
};
use uuid::Uuid;

use crate::house::{House, PATIENCE, quiet};

/// The operator's key of these gateways.
pub const KEY: &str = "an operator's key that is long enough";

/// A gateway with one quiet server, and where it keeps what.
pub struct Library {
    pub house: House,
    pub path: PathBuf,
}

/// What an address answered.
#[derive(Debug)]
pub struct Told {
    pub status: u16,
    pub headers: actix_web::http::header::HeaderMap,
    pub text: String,
}

impl Told {
    #[track_caller]
    pub fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The status and the code of a refusal.
    #[track_caller]
    pub fn refusal(&self) -> (u16, String) {
        assert_eq!(self.headers.get("content-type").unwrap(), "application/problem+json", "{}", self.text);
        (self.status, self.body()["code"].as_str().unwrap().to_owned())
    }
}

impl Library {
    pub async fn new(variables: &[(&str, &str)]) -> Library {
        Library::with(quiet(), variables).await
    }

    /// The same with a server like this one.
    pub async fn with(server: upstream::Settings, variables: &[(&str, &str)]) -> Library {
        let path = std::env::temp_dir().join(format!("tandem-history-{}", Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        let directory = path.display().to_string();
        let mut all = vec![("TANDEM__STATE__DIR", directory.as_str()), ("TANDEM_OPERATOR_KEY", KEY)];
        all.extend(variables);
        Library { house: House::set(server, 1, &all).await, path }
    }

    pub fn archive(&self) -> Arc<Archive> {
        Arc::clone(&self.house.gateway.doors.archive)
    }

    /// Keeps a record and brings it to the store.
    pub async fn keep(&self, record: &Record) {
        let archive = self.archive();
        archive.complete(record.clone()).await.unwrap();
        archive.bring().await.unwrap();
        // Somebody else may have been bringing it.
        tokio::time::timeout(PATIENCE, async {
            while archive.waiting().await.unwrap() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }

    /// Asks as whoever has this token.
    pub async fn ask(&self, method: &str, path: &str, token: Option<&str>) -> Told {
        let client = awc::Client::builder().timeout(PATIENCE).finish();
        let mut request = client.request(method.parse().unwrap(), format!("{}{path}", self.house.url()));
        if let Some(token) = token {
            request = request.insert_header(("authorization", format!("Bearer {token}")));
        }
        let mut response = request.send().await.unwrap();
        let bytes = response.body().limit(64 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Told { status: response.status().as_u16(), headers: response.headers().clone(), text }
    }

    pub fn token(&self, user: &str) -> String {
        secrecy::ExposeSecret::expose_secret(&self.house.token(user)).to_owned()
    }

    pub fn operator(&self) -> String {
        let tokens = &self.house.gateway.doors.tokens;
        let user = UserId::new("ops").unwrap();
        let token = tokens.mint_with(&user, Some("tandem:operate"), PATIENCE, unix_now_seconds()).unwrap();
        secrecy::ExposeSecret::expose_secret(&token).to_owned()
    }

    /// Whether these words are anywhere in the files.
    pub fn holds(&self, words: &str) -> bool {
        let files = std::fs::read_dir(&self.path).unwrap().map(|file| file.unwrap().path());
        files.filter(|file| file.is_file()).any(|file| {
            // In another process: closing a file of SQLite's takes this one's locks away.
            let bytes = Command::new("cat").arg(file).output().unwrap().stdout;
            bytes.windows(words.len()).any(|window| window == words.as_bytes())
        })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A call of so many minutes ago that is not over.
pub fn open(user: &str, minutes: i64) -> Record {
    let began_ms = jiff::Timestamp::now().as_millisecond() - minutes * 60_000;
    let origin = Origin { home: "elsewhere".into(), process: Uuid::new_v4(), until_ms: i64::MAX / 2 };
    Record { session: Uuid::new_v4(), user: user.into(), persona: "listener".into(), began_ms, origin, ended: None }
}

/// The same, over, in which this was said.
pub fn over(user: &str, minutes: i64, said: &str, recap: &str) -> Record {
    let record = open(user, minutes);
    let transcript = vec![Line { speaker: Speaker::Assistant, at_ms: 900, text: said.into() }];
    let ended = Ended {
        ending: Ending::ClientLeft,
        talked_ms: 1,
        recap: recap.into(),
        transcript,
        ..Ended::lost(record.began_ms + 30_000)
    };
    Record { ended: Some(ended), ..record }
}
