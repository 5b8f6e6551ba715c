//! The webhook backend: events go out in batches, as an EventList to a kubeconfig's server. Upstream's `batch` mode.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep, timeout_at};

use crate::outbound::Outbound;

/// `--audit-webhook-batch-buffer-size`, `-max-size`, `-max-wait`, `--audit-webhook-initial-backoff`.
const BUFFER: usize = 10_000;
const BATCH: usize = 400;
const WAIT: Duration = Duration::from_secs(30);
const BACKOFF: Duration = Duration::from_secs(10);
const TRIES: u32 = 5;

pub struct Webhook {
    events: Sender<Value>,
}

impl Webhook {
    /// Must be called within a runtime.
    pub fn new(to: Outbound) -> Webhook {
        Webhook::with(to, WAIT)
    }

    pub(super) fn with(to: Outbound, wait: Duration) -> Webhook {
        let (events, receiver) = channel(BUFFER);
        tokio::spawn(run(to, receiver, wait));
        Webhook { events }
    }

    /// Never waits: what does not fit is lost, and the log says so.
    pub fn write(&self, event: Value) {
        if self.events.try_send(event).is_err() {
            tracing::warn!("the audit webhook is behind: an event is lost");
        }
    }
}

async fn run(to: Outbound, mut events: Receiver<Value>, wait: Duration) {
    while let Some(first) = events.recv().await {
        let mut batch = vec![first];
        let end = Instant::now() + wait;
        while batch.len() < BATCH
            && let Ok(Some(event)) = timeout_at(end, events.recv()).await
        {
            batch.push(event);
        }
        let count = batch.len();
        let list = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": batch});
        let mut pause = BACKOFF;
        for attempt in 1..=TRIES {
            match to.post(&list).await {
                Ok((200..300, _)) => break,
                Ok((code, _)) if code < 500 && code != 429 => {
                    tracing::error!(code, events = count, "the audit webhook refuses events");
                    break;
                }
                refused if attempt == TRIES => {
                    let error = refused.map_or_else(|e| e.to_string(), |(code, _)| code.to_string());
                    tracing::error!(error, events = count, "the audit webhook does not take events: they are lost");
                }
                _ => {
                    sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }
}
