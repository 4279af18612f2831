//! One side's conversation, as a task: orders go in, sayings come out as events.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::inbox::{Inbox, Pen, Source};
use crate::handoff::conversation::Conversation;
use crate::handoff::machine::{Event, Side};
use crate::wire::{Saying, Verb};

/// How long connecting and the greeting may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to say something to a keeper. What is not written yet when the inbox dismisses the conversation is never said.
pub(super) struct Voice(UnboundedSender<Verb>);

impl Voice {
    /// Opens a conversation. Its end, and its failure to begin, are told as [`Event::Broken`].
    pub(super) fn open(inbox: &mut Inbox, side: Side, keeper: String, token: Option<String>) -> Self {
        let (sender, orders) = unbounded_channel();
        inbox.watch(Source::Voice(side), |pen| converse(side, keeper, token, orders, pen));
        Self(sender)
    }

    pub(super) fn say(&self, verb: Verb) {
        let _ = self.0.send(verb);
    }
}

async fn converse(side: Side, keeper: String, token: Option<String>, mut orders: UnboundedReceiver<Verb>, pen: Pen) {
    let mut conversation = match Conversation::begin(&keeper, token, PATIENCE).await {
        Ok((conversation, status)) => {
            pen.tell(Event::Said(side, Saying::Status(Box::new(status)))).await;
            conversation
        }
        Err(error) => {
            if error.is_absence() {
                pen.tell(Event::Absent(side)).await;
            }
            return pen.tell_why(Event::Broken(side), error.to_string()).await;
        }
    };
    let error = loop {
        tokio::select! {
            heard = conversation.hear() => match heard {
                Ok(saying) => pen.tell(Event::Said(side, saying)).await,
                Err(error) => break error,
            },
            order = orders.recv() => {
                let Some(verb) = order else { return };
                if let Err(error) = conversation.say(verb).await {
                    break error;
                }
            }
        }
    };
    pen.tell_why(Event::Broken(side), error.to_string()).await;
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[tokio::test]
    async fn a_port_that_refuses_is_told_before_the_conversation_counts_as_broken() {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let mut inbox = Inbox::new(unbounded_channel().1);
        let _voice = Voice::open(&mut inbox, Side::New, nobody, None);
        assert_eq!(inbox.next().await.0, Event::Absent(Side::New));
        assert_eq!(inbox.next().await.0, Event::Broken(Side::New));
    }
}
