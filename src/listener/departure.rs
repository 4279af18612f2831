//! Clients that leave while their request is held. hyper sees it only while it reads the socket: not with a body that is
//! not read yet, nor with a pipelined request behind. A second epoll set per worker sees each (`EPOLLRDHUP`).
#![expect(unsafe_code, reason = "the socket is borrowed by its number: hyper owns it and does not lend it")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Poll, Waker};

use rustix::event::{PollFd, PollFlags, epoll, poll};
use rustix::io::{Errno, ioctl_fionread};
use rustix::time::Timespec;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

thread_local! {
    static CLIENTS: RefCell<Clients> = RefCell::default();
}

#[derive(Default)]
struct Clients {
    epoll: Option<Rc<OwnedFd>>,
    waiting: HashMap<u64, Waiting>,
    last: u64,
}

#[derive(Default)]
struct Waiting {
    left: bool,
    waker: Option<Waker>,
}

/// Serves the watches of this thread, as long as it is polled.
///
/// # Errors
/// No epoll set could be made.
pub async fn watch_clients() -> io::Result<()> {
    let epoll = Rc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
    CLIENTS.with_borrow_mut(|clients| clients.epoll = Some(epoll.clone()));
    // SAFETY: the descriptor is owned, by a count, for as long as it is registered, and no other can take its place.
    let ready = unsafe { AsyncFd::register_with_interest(epoll, Interest::READABLE) }?;
    let mut events = Vec::with_capacity(256);
    loop {
        let mut guard = ready.readable().await?;
        events.clear();
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(ready.get_ref(), spare, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(0) => guard.clear_ready(),
            Ok(_) => CLIENTS.with_borrow_mut(|clients| events.iter().for_each(|event| clients.leave(event.data.u64()))),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Clients {
    fn leave(&mut self, key: u64) {
        // An event of a watch that is gone finds nobody.
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.left = true;
            if let Some(waker) = waiting.waker.take() {
                waker.wake();
            }
        }
    }
}

/// Watches whether the client at the other end of a socket leaves.
pub struct Watch {
    key: u64,
}

/// Begins a watch. The socket must be open now; it may be closed while the watch lasts.
#[must_use]
pub fn watch(socket: RawFd) -> Watch {
    // SAFETY: the caller serves a request of that connection at this moment, so that the socket is open.
    let socket = unsafe { BorrowedFd::borrow_raw(socket) };
    CLIENTS.with_borrow_mut(|clients| {
        clients.last += 1;
        let key = clients.last;
        if let Some(epoll) = &clients.epoll {
            // One event, then it rests until armed again; closing the socket takes it out of the set.
            let (data, flags) = (epoll::EventData::new_u64(key), epoll::EventFlags::RDHUP | epoll::EventFlags::ONESHOT);
            let armed = match epoll::modify(epoll, socket, data, flags) {
                Err(Errno::NOENT) => epoll::add(epoll, socket, data, flags),
                other => other,
            };
            // Without memory for it the client is looked at before its request is dispatched all the same.
            let _ = armed;
        }
        clients.waiting.insert(key, Waiting::default());
        Watch { key }
    })
}

impl Watch {
    /// Waits until the client has left. Cancel-safe.
    pub async fn left(&self) {
        poll_fn(|cx| {
            CLIENTS.with_borrow_mut(|clients| match clients.waiting.get_mut(&self.key) {
                Some(waiting) if !waiting.left => {
                    waiting.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                Some(_) | None => Poll::Ready(()),
            })
        })
        .await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        CLIENTS.with_borrow_mut(|clients| clients.waiting.remove(&self.key));
    }
}

/// Whether the client at the other end of a socket has left, at this moment.
#[must_use]
pub fn has_left(socket: RawFd) -> bool {
    // SAFETY: as in `watch`.
    let socket = unsafe { BorrowedFd::borrow_raw(socket) };
    let mut sockets = [PollFd::new(&socket, PollFlags::RDHUP)];
    let none = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut sockets, Some(&none)), Ok(1..))
}

/// The bytes that the client at the other end of a socket has sent and nobody has read.
#[must_use]
pub fn unread(socket: RawFd) -> usize {
    // SAFETY: as in `watch`.
    let socket = unsafe { BorrowedFd::borrow_raw(socket) };
    ioctl_fionread(socket).ok().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default()
}
