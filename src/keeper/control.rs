//! The keeper's own port: a greeting at each connection, then lines of JSON both ways.
//!
//! Each connection has a thread that reads; what changes anything goes to the keeper's one thread as an [`Event`], in
//! order. A status is answered here. Whatever a client sends, it can at most end its own connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt};

use super::board::Board;
use super::say::say;
use crate::wire::{self, LineError, MAX_LINE, Order, Saying, Verb};

/// Connections at once; for one more the oldest gives way, of those that serve no handoff if there is one.
const MOST: usize = 64;
/// A client that does not read its answers is given up after this long.
const PATIENCE: Duration = Duration::from_secs(1);
const STACK: usize = 128 * 1024;

/// What the keeper's thread is told.
pub(super) enum Event {
    /// Somebody asks for something.
    Line(Arc<Conversation>, Verb),
    /// A conversation has ended.
    Ended(Arc<Conversation>),
    /// A signal arrived.
    Signal(i32),
}

/// A bound address, before anybody can connect.
pub(super) struct Bound {
    socket: OwnedFd,
    pub(super) address: SocketAddr,
}

impl Bound {
    /// Binds the first address that can be had.
    pub(super) fn any_of(addresses: &[SocketAddr]) -> io::Result<Self> {
        let mut first_error = None;
        for address in addresses {
            match Self::one(*address) {
                Ok(bound) => return Ok(bound),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
    }

    fn one(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
        }
        bind(&socket, &address)?;
        let address = SocketAddr::try_from(getsockname(&socket)?)?;
        Ok(Self { socket, address })
    }

    /// Where others reach this control: an IP, and that of the default route where any address is listened on.
    pub(super) fn reachable(&self) -> SocketAddr {
        let ip = if self.address.ip().is_unspecified() { default_ip() } else { self.address.ip() };
        SocketAddr::new(ip, self.address.port())
    }

    /// Lets clients in, from now on until the process ends.
    pub(super) fn listen(self, door: Door) -> io::Result<()> {
        listen(&self.socket, 128)?;
        let listener = TcpListener::from(self.socket);
        std::thread::Builder::new().name("control".into()).stack_size(STACK).spawn(move || door.receive(&listener))?;
        Ok(())
    }
}

/// The local address that a packet to the world would have; nothing is sent.
fn default_ip() -> IpAddr {
    let probe = |local: IpAddr, far: IpAddr| -> io::Result<IpAddr> {
        let socket = UdpSocket::bind((local, 0))?;
        socket.connect((far, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    probe(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into())
        .or_else(|_| probe(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()))
        .unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// One connection.
pub(super) struct Conversation {
    stream: TcpStream,
    /// Lines of two threads must not mix.
    writing: Mutex<()>,
    serves_handoff: AtomicBool,
}

impl Conversation {
    /// Says a line. One that cannot be said ends the conversation.
    pub(super) fn say(&self, saying: &Saying) {
        self.say_all(std::slice::from_ref(saying));
    }

    /// Says lines that belong together, at once.
    pub(super) fn say_all(&self, sayings: &[Saying]) {
        if sayings.iter().any(is_of_a_handoff) {
            self.serves_handoff.store(true, Ordering::Relaxed);
        }
        let lines: Vec<u8> = sayings.iter().flat_map(wire::encode).collect();
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if (&self.stream).write_all(&lines).is_err() {
            self.end();
        }
    }

    /// Says no.
    pub(super) fn refuse(&self, why: impl Into<String>) {
        self.say(&Saying::Refused { why: why.into() });
    }

    /// Ends it; its thread tells the keeper.
    pub(super) fn end(&self) {
        let _gone = self.stream.shutdown(Shutdown::Both);
    }

    /// Whether the other side has gone, asked of the kernel at this moment.
    pub(super) fn is_gone(&self) -> bool {
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut sockets = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let at_once = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        let asked = poll(&mut sockets, Some(&at_once));
        asked.is_err() || sockets.iter().any(|socket| socket.revents().intersects(gone))
    }
}

/// What only who leads a handoff is told: whoever asks for a status, or shows a forged ticket, never hears it.
fn is_of_a_handoff(saying: &Saying) -> bool {
    matches!(saying, Saying::Ready { .. } | Saying::Ok {} | Saying::Stopping { .. })
}

impl PartialEq for Conversation {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// The conversations that are open, by number, oldest first.
type Inside = Vec<(u64, Arc<Conversation>)>;

/// What every connection needs.
pub(super) struct Door {
    pub(super) board: Arc<Board>,
    pub(super) token: Option<String>,
    pub(super) events: SyncSender<Event>,
}

impl Door {
    fn receive(self, listener: &TcpListener) {
        let door = Arc::new(self);
        let inside: Arc<Mutex<Inside>> = Arc::default();
        let count = AtomicU64::new(0);
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => {
                    say(&format!("cannot accept a connection: {error}"));
                    std::thread::sleep(Duration::from_millis(100)); // out of descriptors: others end meanwhile
                    continue;
                }
            };
            let Ok(conversation) = open(stream) else { continue };
            let number = count.fetch_add(1, Ordering::Relaxed);
            let_in(&inside, number, &conversation);
            let (door, leaving) = (Arc::clone(&door), Arc::clone(&inside));
            let converse = move || {
                door.converse(&conversation);
                leaving.lock().unwrap_or_else(PoisonError::into_inner).retain(|(other, _)| *other != number);
                conversation.end();
                let _ending = door.events.send(Event::Ended(conversation));
            };
            if let Err(error) = std::thread::Builder::new().name("converse".into()).stack_size(STACK).spawn(converse) {
                say(&format!("cannot serve a connection: {error}"));
                inside.lock().unwrap_or_else(PoisonError::into_inner).retain(|(other, _)| *other != number);
            }
        }
    }

    /// Greets, then reads line after line until the end.
    fn converse(&self, conversation: &Arc<Conversation>) {
        conversation.say(&Saying::Status(Box::new(self.board.status())));
        let mut lines = BufReader::new(&conversation.stream);
        let mut idle = None;
        loop {
            let line = match read_line(&mut lines, &conversation.stream, idle) {
                Ok(Some(line)) => line,
                Ok(None) => return,
                Err(error) => return conversation.refuse(error.to_string()),
            };
            let order: Order = match wire::decode(&line) {
                Ok(order) => order,
                Err(error) => return conversation.refuse(error.to_string()),
            };
            if !self.admits(order.token.as_deref()) {
                return conversation.refuse("this keeper wants its token with every line");
            }
            match order.verb {
                Verb::Status {} => conversation.say(&Saying::Status(Box::new(self.board.status()))),
                verb => {
                    if let Verb::Prepare { idle_ms, .. } = &verb {
                        idle = Some(Duration::from_millis((*idle_ms).max(1)));
                    }
                    if self.events.send(Event::Line(Arc::clone(conversation), verb)).is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Compares in a time that does not depend on where the two differ.
    fn admits(&self, given: Option<&str>) -> bool {
        let Some(token) = &self.token else { return true };
        let given = given.unwrap_or_default();
        let differing = token.bytes().zip(given.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        token.len() == given.len() && differing == 0
    }
}

fn open(stream: TcpStream) -> io::Result<Arc<Conversation>> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    sockopt::set_socket_keepalive(&stream, true)?;
    Ok(Arc::new(Conversation { stream, writing: Mutex::new(()), serves_handoff: AtomicBool::new(false) }))
}

fn let_in(inside: &Mutex<Inside>, number: u64, conversation: &Arc<Conversation>) {
    let mut inside = inside.lock().unwrap_or_else(PoisonError::into_inner);
    if inside.len() >= MOST {
        let idle = inside.iter().position(|(_, other)| !other.serves_handoff.load(Ordering::Relaxed));
        let (_, oldest) = inside.remove(idle.unwrap_or_default());
        oldest.end();
    }
    inside.push((number, Arc::clone(conversation)));
}

/// Reads one line, at most [`MAX_LINE`], within `idle` as a whole; none at the end of the stream.
fn read_line(
    lines: &mut BufReader<&TcpStream>,
    stream: &TcpStream,
    idle: Option<Duration>,
) -> Result<Option<Vec<u8>>, LineError> {
    let until = idle.map(|idle| Instant::now() + idle);
    let mut line = Vec::new();
    loop {
        if let Some(until) = until {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
                return Ok(None);
            }
        }
        let room = (MAX_LINE + 1).saturating_sub(line.len());
        // One buffer at a time, so that the time is looked at between two of them.
        let available = match lines.fill_buf() {
            Ok([]) => return Ok(None),
            Ok(bytes) => bytes.len().min(room),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Ok(None),
        };
        let mut part = Vec::new();
        if lines.by_ref().take(available as u64).read_until(b'\n', &mut part).is_err() {
            return Ok(None);
        }
        line.append(&mut part);
        if line.ends_with(b"\n") {
            return Ok(Some(line));
        }
        if line.len() > MAX_LINE {
            return Err(LineError::TooLong);
        }
    }
}
