//! A client: a raw socket, and just enough HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use super::PATIENCE;

/// A connection to a proxy.
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The first header of that name.
pub fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Reads a head: its first line and its headers; none at the end of the stream.
pub fn read_head(stream: &mut impl BufRead) -> std::io::Result<Option<(String, Vec<(String, String)>)>> {
    let mut first = String::new();
    if stream.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok(Some((first.trim_end().to_owned(), headers))),
        }
    }
}

/// Reads a chunked body and its trailers.
pub fn read_chunks(stream: &mut impl BufRead) -> std::io::Result<(Vec<u8>, Vec<(String, String)>)> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        stream.read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| std::io::ErrorKind::InvalidData)?;
        if size == 0 {
            break;
        }
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..])?;
        stream.read_line(&mut String::new())?;
    }
    let mut trailers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => trailers.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok((body, trailers)),
        }
    }
}

impl Client {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends bytes; an error does not matter.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Sends what the systems on both sides take without waiting; how much that was.
    pub fn send_at_once(&mut self, bytes: &[u8]) -> usize {
        let stream = self.stream.get_mut();
        stream.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(len @ 1..) = stream.write(&bytes[sent..]) {
            sent += len;
        }
        stream.set_nonblocking(false).unwrap();
        sent
    }

    /// Asks for a path, without reading the answer.
    pub fn ask(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n"));
    }

    /// Asks for a path.
    pub fn get(&mut self, path: &str) -> Answer {
        self.ask(path);
        self.answer()
    }

    /// The answer to what is not HEAD.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("an answer")
    }

    /// The answer; none where the connection ended before its head.
    pub fn try_answer(&mut self) -> Option<Answer> {
        let mut answer = self.head()?;
        if matches!(answer.status, 101 | 204 | 304) {
            return Some(answer);
        }
        let read = match (answer.header("content-length"), answer.header("transfer-encoding")) {
            (Some(length), _) => {
                answer.body = vec![0; length.parse().unwrap()];
                self.stream.read_exact(&mut answer.body)
            }
            (None, Some(_)) => {
                read_chunks(&mut self.stream).map(|(body, trailers)| (answer.body, answer.trailers) = (body, trailers))
            }
            (None, None) => self.stream.read_to_end(&mut answer.body).map(drop),
        };
        read.ok().map(|()| answer)
    }

    /// The head of an answer alone; none where the connection ended before it.
    pub fn head(&mut self) -> Option<Answer> {
        let (first, headers) = read_head(&mut self.stream).ok()??;
        let status = first.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, headers, ..Answer::default() })
    }

    /// So many bytes of what follows; fewer where the connection ends.
    pub fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.stream.by_ref().take(len as u64).read_to_end(&mut bytes);
        bytes
    }

    /// Whether the other side has ended the connection, and nothing more came; waits for it.
    pub fn is_at_end(&mut self) -> bool {
        !matches!(self.stream.read(&mut [0]), Ok(1..))
    }

    /// Whether nothing has come so far.
    pub fn is_silent(&mut self) -> bool {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true).unwrap();
        let silent = self.stream.buffer().is_empty()
            && self.stream.get_ref().peek(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        self.stream.get_ref().set_nonblocking(false).unwrap();
        silent
    }

    /// No more is sent.
    pub fn finish(&self) {
        self.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    }
}
