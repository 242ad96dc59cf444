//! The machines of a running Tandem as a table: what each does, where its time went, and what that costs.

use serde::{Deserialize, Serialize};

use super::terminal;

/// One machine, as `GET /v1/upstreams` tells it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Machine {
    pub(super) upstream: String,
    pub(super) provider: String,
    pub(super) state: String,
    pub(super) eta_ms: Option<u64>,
    pub(super) eta_p90_ms: Option<u64>,
    #[serde(flatten)]
    pub(super) spent: Spent,
    pub(super) price_per_hour: Option<f64>,
}

/// Where time went, and what it costs, where a price is set: of one machine, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(super) struct Spent {
    pub(super) awake_seconds: u64,
    pub(super) leased_seconds: u64,
    pub(super) idle_seconds: u64,
    pub(super) asleep_seconds: u64,
    pub(super) cost: Option<f64>,
    pub(super) saving: Option<f64>,
}

impl Spent {
    /// All machines together; money is that of those with a price.
    pub(super) fn of(machines: &[Machine]) -> Self {
        machines.iter().fold(Self::default(), |sum, Machine { spent, .. }| Self {
            awake_seconds: sum.awake_seconds.saturating_add(spent.awake_seconds),
            leased_seconds: sum.leased_seconds.saturating_add(spent.leased_seconds),
            idle_seconds: sum.idle_seconds.saturating_add(spent.idle_seconds),
            asleep_seconds: sum.asleep_seconds.saturating_add(spent.asleep_seconds),
            cost: plus(sum.cost, spent.cost),
            saving: plus(sum.saving, spent.saving),
        })
    }

    fn cells(&self) -> [String; 4] {
        [self.awake_seconds, self.leased_seconds, self.idle_seconds, self.asleep_seconds].map(time)
    }
}

/// To the millionth, in which money is counted.
fn plus(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(((a + b) * 1e6).round() / 1e6),
        (a, b) => a.or(b),
    }
}

const HEADS: [&str; 11] =
    ["upstream", "provider", "state", "there in", "awake", "leased", "idle", "asleep", "per hour", "cost", "saving"];
/// Columns of words; the others are numbers.
const WORDS: usize = 4;

/// The table, its sums, and what they say, for people.
pub(super) fn table(machines: &[Machine]) -> String {
    let (sum, money) =
        (Spent::of(machines), |amount: Option<f64>| amount.map_or("-".to_owned(), |it| format!("{it:.4}")));
    let row = |words: [String; WORDS], spent: &Spent, price: String| -> Vec<String> {
        let cells = words.into_iter().chain(spent.cells()).chain([price, money(spent.cost), money(spent.saving)]);
        cells.map(|cell| terminal::printable(&cell).replace('\n', " ")).collect()
    };
    let heads = HEADS.map(str::to_owned).to_vec();
    let each = machines.iter().map(|machine| {
        let words = [machine.upstream.clone(), machine.provider.clone(), machine.state.clone(), machine.eta()];
        row(words, &machine.spent, machine.price_per_hour.map_or("-".to_owned(), |price| price.to_string()))
    });
    let last = row(["sum".to_owned(), String::new(), String::new(), String::new()], &sum, String::new());
    let rows: Vec<Vec<String>> = [heads].into_iter().chain(each).chain([last]).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells =
            row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
                if at < WORDS { format!("{cell:width$}") } else { format!("{cell:>width$}") }
            });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let lines: Vec<String> = rows.iter().map(line).chain([remark(machines, &sum)]).collect();
    lines.join("\n")
}

/// What the sums say.
fn remark(machines: &[Machine], sum: &Spent) -> String {
    let free = machines.iter().filter(|machine| machine.price_per_hour.is_none()).count();
    match (sum.cost, sum.saving) {
        (Some(cost), Some(saving)) => {
            let share = if cost + saving > 0.0 { 100.0 * saving / (cost + saving) } else { 0.0 };
            let but =
                if free > 0 { format!("; {free} without price= count by their time only") } else { String::new() };
            format!("Always on would have cost {:.4}: {share:.0} % are saved{but}.", cost + saving)
        }
        _ => "What they cost is not known: say it by price= behind their addresses.".to_owned(),
    }
}

impl Machine {
    /// When a machine that wakes is there: in half of such wakes, and in nine of ten.
    pub(super) fn eta(&self) -> String {
        match (self.eta_ms, self.eta_p90_ms) {
            (Some(half), Some(most)) => {
                format!("{} to {}", time(half.div_ceil(1_000)), time(most.div_ceil(1_000)))
            }
            _ => "-".to_owned(),
        }
    }
}

/// `45s`, `5m10s` or `2h05m`.
pub(super) fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn machine(upstream: &str, state: &str, times: [u64; 4], price: Option<f64>) -> Value {
        let [awake, leased, idle, asleep] = times;
        let of = |seconds: u64| price.map(|price| (price * seconds as f64 / 3.6e3 * 1e6).floor() / 1e6);
        json!({
            "upstream": upstream, "provider": "runpod", "state": state, "eta_ms": null, "eta_p90_ms": null,
            "held_seconds": null, "awake_seconds": awake, "leased_seconds": leased, "idle_seconds": idle,
            "asleep_seconds": asleep, "price_per_hour": price, "cost": of(awake), "saving": of(asleep),
        })
    }

    fn read(machines: Vec<Value>) -> Vec<Machine> {
        serde_json::from_value(Value::Array(machines)).unwrap()
    }

    #[test]
    fn the_table_says_who_does_what_and_what_it_costs() {
        let mut waking = machine("a-longer-name", "waking", [45, 0, 45, 86_355], Some(1.2));
        (waking["eta_ms"], waking["eta_p90_ms"]) = (json!(59_001), json!(180_000));
        let machines = read(vec![
            machine("1", "ready", [7_510, 7_200, 310, 78_890], Some(0.79)),
            waking,
            machine("3\u{1b}[2J\n", "asleep", [0, 0, 0, 86_400], None),
        ]);
        let lines = [
            "upstream       provider  state   there in        awake  leased   idle  asleep  per hour    cost   saving",
            "1              runpod    ready   -               2h05m   2h00m  5m10s  21h54m      0.79  1.6480  17.3120",
            "a-longer-name  runpod    waking  1m00s to 3m00s    45s      0s    45s  23h59m       1.2  0.0150  28.7850",
            "3 [2J          runpod    asleep  -                  0s      0s     0s  24h00m         -       -        -",
            "sum                                              2h05m   2h00m  5m55s  69h54m            1.6630  46.0970",
            "Always on would have cost 47.7600: 97 % are saved; 1 without price= count by their time only.",
        ];
        let said = table(&machines);
        assert_eq!(said.lines().collect::<Vec<_>>(), lines, "\n{said}");
    }

    #[test]
    fn without_a_price_the_table_says_how_to_set_one() {
        let said = table(&read(vec![machine("1", "asleep", [0, 0, 0, 5], None)]));
        assert!(said.ends_with("say it by price= behind their addresses."), "{said}");
        let new = table(&read(vec![machine("1", "unknown", [0; 4], Some(1.0))]));
        assert!(new.ends_with("Always on would have cost 0.0000: 0 % are saved."), "{new}");
    }

    #[test]
    fn sums_are_exact_to_the_millionth() {
        let machines = read(vec![machine("1", "ready", [3_600, 0, 3_600, 0], Some(0.1)); 3]);
        assert_eq!(Spent::of(&machines).cost, Some(0.3));
    }
}
