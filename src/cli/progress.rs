//! The phases of a deploy on stderr, as they happen.

use std::time::{Duration, Instant};

use super::{Failed, say};
use crate::control::Progress;

/// How phases are shown.
pub(super) enum Display {
    /// Not at all.
    Silent,
    /// One line at each begin.
    Plain,
    /// One line a phase, completed with its duration at its end.
    Live(Option<(Progress, Instant)>),
}

impl Display {
    /// By the flag's word, and whether a person looks.
    pub(super) fn new(word: Option<&str>, terminal: bool) -> Result<Self, Failed> {
        match word.unwrap_or("auto") {
            "auto" if terminal => Ok(Self::Live(None)),
            "auto" | "none" => Ok(Self::Silent),
            "plain" => Ok(Self::Plain),
            other => {
                let wrong = format!("invalid argument {other:?} for \"--progress\" flag: expected auto, plain or none");
                Err(wrong.into())
            }
        }
    }

    pub(super) fn send(&mut self, progress: Progress) {
        match self {
            Self::Silent => {}
            Self::Plain => say(&plain(&progress)),
            Self::Live(current) => {
                let began = match current.take() {
                    Some((before, began)) if before.phase == progress.phase => began,
                    Some((before, began)) => {
                        say(&(live(&before, began.elapsed()) + "\n"));
                        Instant::now()
                    }
                    None => Instant::now(),
                };
                say(&live(&progress, began.elapsed()));
                *current = Some((progress, began));
            }
        }
    }

    /// Time has passed.
    pub(super) fn tick(&self) {
        if let Self::Live(Some((progress, began))) = self {
            say(&live(progress, began.elapsed()));
        }
    }

    /// The last phase is over.
    pub(super) fn finish(&mut self) {
        if let Self::Live(current) = self
            && let Some((last, began)) = current.take()
        {
            say(&(live(&last, began.elapsed()) + "\n"));
        }
    }
}

fn plain(progress: &Progress) -> String {
    let at = Duration::from_millis(progress.at_ms).as_secs_f64();
    format!("{at:8.3}s {}{}\n", progress.phase, details(progress))
}

/// Redraws its own line: when it began, which phase, how long it has taken.
fn live(progress: &Progress, took: Duration) -> String {
    let at = Duration::from_millis(progress.at_ms).as_secs_f64();
    format!("\r\x1b[K{at:8.3}s  {:<10} {:>8.3}s{}", progress.phase, took.as_secs_f64(), details(progress))
}

fn details(progress: &Progress) -> String {
    let held = if progress.held > 0 { format!("  {} held", progress.held) } else { String::new() };
    let note = if progress.note.is_empty() { String::new() } else { format!("  {}", progress.note) };
    format!("{held}{note}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_one_line() {
        let progress = Progress { phase: "drain".into(), at_ms: 1_250, held: 3, note: "waiting for GET /slow".into() };
        assert_eq!(plain(&progress), "   1.250s drain  3 held  waiting for GET /slow\n");
        let drawn = live(&progress, Duration::from_millis(80));
        assert_eq!(drawn, "\r\x1b[K   1.250s  drain         0.080s  3 held  waiting for GET /slow");
    }

    #[test]
    fn nothing_is_shown_where_nobody_looks_unless_asked() {
        assert!(matches!(Display::new(None, false), Ok(Display::Silent)));
        assert!(matches!(Display::new(None, true), Ok(Display::Live(None))));
        assert!(matches!(Display::new(Some("plain"), false), Ok(Display::Plain)));
        assert!(Display::new(Some("loud"), true).is_err());
    }
}
