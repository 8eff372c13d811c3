//! The figures that plugins keep with the package `prometheus_client`, for `/-/metrics`.
//!
//! Used on the I/O threads. Promise: a reader waits [`PATIENCE`] for them at most, whatever Python is doing, and gets
//! those of the last time instead. Caveat: they are read by one reader at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::edge::observe::metrics::exposition::Format;
use crate::edge::queue::backend::Backend;

/// How long a reader waits for new figures.
const PATIENCE: Duration = Duration::from_millis(200);

/// The figures in one format.
#[derive(Default)]
struct Kept {
    text: Arc<str>,
    /// What was asked for and has not come in time.
    asked: Option<oneshot::Receiver<String>>,
}

/// The figures, as they were read last.
#[derive(Default)]
pub(crate) struct RegistryTexts {
    prometheus: Mutex<Kept>,
    openmetrics: Mutex<Kept>,
}

impl RegistryTexts {
    /// The figures in `format`, in the time that there is for it, or those of the last time.
    pub(crate) async fn read<B: Backend>(&self, backend: &B, format: Format) -> Arc<str> {
        let until = Instant::now() + PATIENCE;
        let kept = match format {
            Format::Prometheus => &self.prometheus,
            Format::OpenMetrics => &self.openmetrics,
        };
        let mut kept = kept.lock().await;
        let late = kept.asked.take();
        // Those that are late are as old as the last reader's.
        for asked in late.into_iter().map(Some).chain([None]) {
            let mut asked = asked.unwrap_or_else(|| backend.collect_registry(format));
            match timeout_at(until, &mut asked).await {
                Ok(Ok(text)) => kept.text = text.into(),
                // They cannot be written, which the log has.
                Ok(Err(_)) => {}
                Err(_) => {
                    kept.asked = Some(asked);
                    break;
                }
            }
        }
        Arc::clone(&kept.text)
    }
}
