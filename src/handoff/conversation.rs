//! The proxy's end of the conversation with one keeper: lines of JSON both ways over TCP.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use crate::wire::{self, LineError, MAX_LINE, Order, Saying, Status, Verb};

/// How long one order may take to be written: a line fits the socket's buffer, so only a dead peer takes time.
const SEND: Duration = Duration::from_millis(500);

/// Why a conversation could not be begun, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// The name could not be resolved, or nothing listens there.
    #[error("{0}")]
    Connect(io::Error),
    /// Nothing came in the time given.
    #[error("no answer in {0:?}")]
    Silent(Duration),
    /// The keeper closed the connection, or it broke.
    #[error("the conversation broke: {0}")]
    Broken(String),
    /// What came is no line of this conversation.
    #[error("{0}")]
    Line(#[from] LineError),
    /// It speaks, but did not greet as a keeper does.
    #[error("what listens there is no keeper")]
    NoKeeper,
    /// Its version could misunderstand us.
    #[error("it speaks version {theirs}, this proxy {ours}", theirs = .0.major, ours = wire::VERSION.major)]
    Version(wire::Version),
}

impl ConversationError {
    /// Whether nothing listens there, at none of its addresses.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// An open conversation. Dropping it ends it, and with it the ticket of a standby that it prepared.
#[derive(Debug)]
pub struct Conversation {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    token: Option<String>,
    line: Vec<u8>,
}

impl Conversation {
    /// Connects to a keeper and hears its greeting, within `patience`. The name is resolved anew, all its addresses are
    /// tried.
    ///
    /// # Errors
    /// [`ConversationError`]; nothing was asked of the keeper then.
    pub async fn begin(
        keeper: &str,
        token: Option<String>,
        patience: Duration,
    ) -> Result<(Self, Status), ConversationError> {
        let until = Instant::now() + patience;
        let silent = |_| ConversationError::Silent(patience);
        let stream = timeout_at(until, connect(keeper)).await.map_err(silent)?;
        let (reader, writer) = stream.map_err(ConversationError::Connect)?.into_split();
        let mut conversation = Self { reader: BufReader::new(reader), writer, token, line: Vec::new() };
        let greeting = timeout_at(until, conversation.hear()).await.map_err(silent)?;
        let status = match greeting {
            Ok(Saying::Status(status)) => *status,
            Ok(_) | Err(ConversationError::Line(_)) => return Err(ConversationError::NoKeeper),
            Err(error) => return Err(error),
        };
        if status.wire.major != wire::VERSION.major {
            return Err(ConversationError::Version(status.wire));
        }
        Ok((conversation, status))
    }

    /// Sends one order. Nothing is heard here.
    ///
    /// # Errors
    /// [`ConversationError::Broken`]: whether the keeper got it is then unknown.
    pub async fn say(&mut self, verb: Verb) -> Result<(), ConversationError> {
        let line = wire::encode(&Order { token: self.token.clone(), verb });
        match timeout(SEND, self.writer.write_all(&line)).await {
            Ok(written) => written.map_err(broken),
            Err(_) => Err(ConversationError::Silent(SEND)),
        }
    }

    /// Waits for the next line. Cancel-safe.
    ///
    /// # Errors
    /// [`ConversationError`]: the conversation is over.
    pub async fn hear(&mut self) -> Result<Saying, ConversationError> {
        loop {
            let chunk = self.reader.fill_buf().await.map_err(broken)?;
            if chunk.is_empty() {
                return Err(ConversationError::Broken("the keeper closed it".into()));
            }
            let (used, complete) = match chunk.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (chunk.len(), false),
            };
            self.line.extend(chunk.iter().take(used));
            self.reader.consume(used);
            if self.line.len() > MAX_LINE {
                return Err(LineError::TooLong.into());
            }
            if complete {
                return Ok(wire::decode(&std::mem::take(&mut self.line))?);
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where a function of the error is wanted")]
fn broken(error: io::Error) -> ConversationError {
    ConversationError::Broken(error.to_string())
}

async fn connect(keeper: &str) -> io::Result<TcpStream> {
    let mut failure: Option<io::Error> = None;
    for address in lookup_host(keeper).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let keepalive = socket2::TcpKeepalive::new()
                    .with_time(Duration::from_secs(5))
                    .with_interval(Duration::from_secs(2))
                    .with_retries(3);
                SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                return Ok(stream);
            }
            // One that may still listen tells more than one that refuses.
            Err(error) => {
                let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
                failure = Some(failure.filter(|first| !refused(first)).unwrap_or(error));
            }
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

/// One keeper's status, by a conversation of its own.
///
/// # Errors
/// [`ConversationError`] as from [`Conversation::begin`].
pub async fn ask(keeper: &str, patience: Duration) -> Result<Status, ConversationError> {
    Ok(Conversation::begin(keeper, None, patience).await?.1)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);
    const GREETING: &str =
        r#"{"says":"status","wire":{"major":1,"minor":0},"role":"standby","id":"a:1","epoch":3,"confirmed":true}"#;

    /// A keeper that says each part, and hands back what it was told in between.
    async fn keeper(parts: Vec<String>) -> (String, tokio::task::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::task::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for part in parts {
                stream.write_all(part.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
            let mut told = Vec::new();
            BufReader::new(&mut stream).read_until(b'\n', &mut told).await.unwrap();
            told
        });
        (address, task)
    }

    #[tokio::test]
    async fn hears_lines_however_they_are_cut_and_sends_the_token() {
        let (first, second) = GREETING.split_at(20);
        let parts =
            vec![first.into(), format!("{second}\n{{\"says\":\"ok\"}}\n{{\"says\":\"fr"), "ee\",\"ms\":7}\n".into()];
        let (address, task) = keeper(parts).await;
        let (mut conversation, status) = Conversation::begin(&address, Some("word".into()), PATIENCE).await.unwrap();
        assert_eq!((status.id.as_str(), status.epoch), ("a:1", 3));
        assert_eq!(conversation.hear().await.unwrap(), Saying::Ok {});
        assert_eq!(conversation.hear().await.unwrap(), Saying::Free { ms: 7 });
        conversation.say(Verb::Take { budget_ms: 5 }).await.unwrap();
        let told = String::from_utf8(task.await.unwrap()).unwrap();
        assert_eq!(told, "{\"token\":\"word\",\"verb\":\"take\",\"budget_ms\":5}\n");
        assert!(matches!(conversation.hear().await, Err(ConversationError::Broken(_))));
    }

    #[tokio::test]
    async fn tells_a_closed_port_from_a_stranger_a_silent_one_and_another_version() {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let error = Conversation::begin(&nobody, None, PATIENCE).await.unwrap_err();
        assert!(matches!(error, ConversationError::Connect(_)) && error.is_absence(), "{error}");

        let (stranger, _task) = keeper(vec!["HTTP/1.1 400 Bad Request\r\n".into()]).await;
        let error = Conversation::begin(&stranger, None, PATIENCE).await.unwrap_err();
        assert!(matches!(error, ConversationError::NoKeeper) && !error.is_absence(), "{error}");

        let (silent, _task) = keeper(Vec::new()).await;
        let error = Conversation::begin(&silent, None, Duration::from_millis(20)).await.unwrap_err();
        assert!(matches!(error, ConversationError::Silent(_)), "{error}");

        let (newer, _task) = keeper(vec![GREETING.replace("\"major\":1", "\"major\":2") + "\n"]).await;
        let error = Conversation::begin(&newer, None, PATIENCE).await.unwrap_err();
        assert!(matches!(error, ConversationError::Version(_)), "{error}");
    }

    #[tokio::test]
    async fn a_line_without_end_ends_the_conversation() {
        let (address, _task) = keeper(vec![format!("{GREETING}\n"), "x".repeat(MAX_LINE + 1)]).await;
        let (mut conversation, _) = Conversation::begin(&address, None, PATIENCE).await.unwrap();
        assert!(matches!(conversation.hear().await, Err(ConversationError::Line(LineError::TooLong))));
    }
}
