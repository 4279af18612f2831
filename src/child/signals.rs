//! Signals, read by a thread that waits for them instead of interrupting anybody.
#![expect(unsafe_code, reason = "signal masks and sigwait have no safe wrapper")]

use std::mem::MaybeUninit;

/// Every signal that is blocked in all threads and read here.
#[derive(Clone, Copy)]
pub struct Signals {
    set: libc::sigset_t,
}

/// Faults of our own code, and what cannot be blocked, stay as they are.
const LEFT_ALONE: [i32; 9] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// Blocks all signals that can be read, in this thread and all that it starts. To be called before any is started.
#[must_use]
pub fn block_all() -> Signals {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set; the other calls only read or change it.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        for signal in LEFT_ALONE {
            libc::sigdelset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
        Signals { set: set.assume_init() }
    }
}

impl Signals {
    /// Waits for the next signal.
    #[must_use]
    pub fn wait(&self) -> i32 {
        let mut signal = 0;
        loop {
            // SAFETY: waits for a signal of a valid set, all of which are blocked.
            if unsafe { libc::sigwait(&raw const self.set, &raw mut signal) } == 0 {
                return signal;
            }
        }
    }
}

/// Undoes in a new process what the keeper has set for itself, and what a shell set that started the keeper in the
/// background: an app that ignored the stop signal would be killed each time. Async-signal-safe.
pub(super) fn reset() -> std::io::Result<()> {
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: dispositions to their default, and an empty mask that sigemptyset has initialised.
    unsafe {
        let inherited = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];
        for signal in [libc::SIGIO, libc::SIGPIPE, libc::SIGTTOU].into_iter().chain(inherited) {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::sigemptyset(none.as_mut_ptr());
        match libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) {
            0 => Ok(()),
            error => Err(std::io::Error::from_raw_os_error(error)),
        }
    }
}

/// A closed stderr must not end the keeper.
pub fn ignore_sigpipe() {
    // SAFETY: sets a disposition that needs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// The signal of a name: `TERM`, `SIGTERM` or its number.
#[must_use]
pub fn named(name: &str) -> Option<i32> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = [
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("KILL", libc::SIGKILL),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("ALRM", libc::SIGALRM),
        ("TERM", libc::SIGTERM),
        ("WINCH", libc::SIGWINCH),
    ];
    let number = bare.parse().ok().filter(|number| (1..=64).contains(number));
    known.iter().find(|(known, _)| *known == bare).map(|(_, number)| *number).or(number)
}
