//! What the process takes of its machine, under the names that client libraries of Prometheus have agreed on.

use metrics_process::collector;

use super::{Kind, Metrics, Series, Unit, series};

pub(super) const CPU: Series = series(
    "process_cpu_seconds_total",
    Kind::Time,
    Unit::Seconds,
    &[],
    "CPU time that the process has used, its own and the system's for it.",
);
pub(super) const RESIDENT: Series =
    series("process_resident_memory_bytes", Kind::Gauge, Unit::Bytes, &[], "Memory of the process that is in RAM.");
pub(super) const VIRTUAL: Series =
    series("process_virtual_memory_bytes", Kind::Gauge, Unit::Bytes, &[], "Address space of the process.");
pub(super) const OPEN_FILES: Series = series(
    "process_open_fds",
    Kind::Gauge,
    Unit::Count,
    &[],
    "Open file descriptors, sockets included: each call has two or three.",
);
pub(super) const MAX_FILES: Series = series(
    "process_max_fds",
    Kind::Gauge,
    Unit::Count,
    &[],
    "File descriptors that may be open; +Inf without a limit.",
);
pub(super) const THREADS: Series = series("process_threads", Kind::Gauge, Unit::Count, &[], "Threads of the process.");
pub(super) const STARTED: Series = series(
    "process_start_time_seconds",
    Kind::Gauge,
    Unit::Seconds,
    &[],
    "When the process began, in seconds since 1970.",
);

impl Metrics {
    /// Looks at the process. Reads files of the system, one for each open descriptor, so not on a thread that carries calls.
    pub fn observe_process(&self) {
        let process = collector::collect();
        let whole = |number: Option<u64>| number.map(|number| number as f64);
        // What has no limit is told as 0.
        let limit = |number: Option<u64>| whole(number).map(|limit| if limit == 0.0 { f64::INFINITY } else { limit });
        for (row, value) in [
            (&CPU, process.cpu_seconds_total),
            (&RESIDENT, whole(process.resident_memory_bytes)),
            (&VIRTUAL, whole(process.virtual_memory_bytes)),
            (&OPEN_FILES, whole(process.open_fds)),
            (&MAX_FILES, limit(process.max_fds)),
            (&THREADS, whole(process.threads)),
            (&STARTED, whole(process.start_time_seconds)),
        ] {
            // What this system does not tell is left out.
            if let Some(value) = value {
                self.gauge(row, &[]).set(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_takes_is_told_under_the_agreed_names() {
        let metrics = Metrics::new();
        assert!(!metrics.render().contains("process_"), "nobody has looked yet");
        metrics.observe_process();
        let text = metrics.render();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
        };
        assert!(text.contains("# TYPE process_cpu_seconds_total counter"), "{text}");
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") < value("process_max_fds"));
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_start_time_seconds") > 1.7e9);
    }
}
