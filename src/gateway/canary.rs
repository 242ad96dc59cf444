//! One task on each thread that sleeps, and tells how late it was woken: as late as sound is that has to go through there.

use std::time::Duration;

use metrics::Histogram;
use tokio::time::{Instant, sleep_until};

use crate::metrics::{Metrics, Thread};

/// Between two looks: about one for each frame of a model.
const EVERY: Duration = Duration::from_millis(100);

/// Watches the current thread for as long as it runs.
pub(super) fn watch(metrics: &Metrics, thread: Thread) {
    actix_rt::spawn(look(metrics.event_loop_delay(thread)));
}

async fn look(delay: Histogram) {
    loop {
        let due = Instant::now() + EVERY;
        sleep_until(due).await;
        delay.record(Instant::now().saturating_duration_since(due));
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        task::yield_now,
        time::{advance, timeout},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_was_busy_for_longer_than_a_frame_is_seen() {
        let metrics = Metrics::new();
        let ms = Duration::from_millis;
        let watching = look(metrics.event_loop_delay(Thread::Worker));
        let busy = async {
            yield_now().await;
            // Time passes and nobody is woken meanwhile.
            advance(ms(350)).await;
            std::future::pending::<()>().await;
        };
        assert!(timeout(ms(600), async { tokio::join!(watching, busy) }).await.is_err());
        let text = metrics.render();
        for line in [
            "tandem_event_loop_delay_seconds_bucket{thread=\"worker\",le=\"0.001\"} 2",
            "tandem_event_loop_delay_seconds_bucket{thread=\"worker\",le=\"0.16\"} 2",
            "tandem_event_loop_delay_seconds_bucket{thread=\"worker\",le=\"0.32\"} 3",
            "tandem_event_loop_delay_seconds_count{thread=\"worker\"} 3",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
