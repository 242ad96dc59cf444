//! A caller that chooses its headers.

use futures_util::{SinkExt, StreamExt};
use secrecy::ExposeSecret;
use serde_json::Value;
use tandem::sim::upstream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::{
    collector::Collector,
    house::{House, PATIENCE, quiet},
};

/// A house whose spans go to this collector, with variables on top.
pub async fn house_of(
    collector: &Collector,
    server: upstream::Settings,
    count: usize,
    variables: &[(&str, &str)],
) -> House {
    let own = collector.variables();
    let mut all: Vec<(&str, &str)> = own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.extend([("TANDEM__UPSTREAMS__CLOSE_TIMEOUT_MS", "500"), ("TANDEM__DRAIN__DEADLINE_SECONDS", "1")]);
    all.extend(variables);
    House::set(server, count, &all).await
}

/// The same with one server that has nothing to say.
pub async fn quiet_house(collector: &Collector) -> House {
    house_of(collector, quiet(), 1, &[]).await
}

/// A call in progress.
pub struct Call(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Call {
    /// Calls on our own wire as this user, with further headers.
    pub async fn dial(house: &House, user: &str, headers: &[(&'static str, &str)]) -> Call {
        let bearer = format!("Bearer {}", house.token(user).expose_secret());
        Call::at(&house.url(), "/v1/voice", &[headers, &[("authorization", &bearer)]].concat()).await
    }

    pub async fn at(url: &str, path: &str, headers: &[(&'static str, &str)]) -> Call {
        let url = format!("{}{path}", url.replacen("http", "ws", 1));
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        Call(tokio::time::timeout(PATIENCE, connect_async(request)).await.unwrap().unwrap().0)
    }

    /// Waits for an event of this type; what else comes is passed by.
    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("something comes");
            let message = next.unwrap_or_else(|| panic!("the call ended before {kind}")).unwrap();
            if let Message::Text(text) = message {
                let event: Value = serde_json::from_str(&text).unwrap();
                if event["type"] == kind {
                    return event;
                }
            }
        }
    }

    pub async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// Goes without a word.
    pub fn vanish(self) {}

    pub async fn hang_up(mut self) {
        self.0.send(Message::text(r#"{"type":"session.end"}"#)).await.unwrap();
        self.until("session.ended").await;
    }
}

/// A ticket's path to our own wire.
pub async fn ticket(house: &House, user: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(house.gateway.address).await.unwrap();
    let token = house.token(user);
    let token = token.expose_secret();
    let request = format!(
        "POST /v1/tickets HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{headers}\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let minted: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    minted["voice_path"].as_str().unwrap().to_owned()
}
