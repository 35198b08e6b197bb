//! The order of turns, quartiles, and the tables that the programs end with.
//!
//! Written by hand, because criterion and divan finish one candidate before they start the next, and
//! tango-bench pairs two builds of one program. Here up to five candidates take turns inside one
//! run, and a ratio compares two turns of the same round: on a machine that other programs use, too,
//! that is what makes a difference of 3 % visible.

use comfy_table::{CellAlignment, Table, presets};

/// Median and quartiles of some samples.
pub struct Quartiles {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Quartiles {
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Quartiles {
        let mut samples: Vec<f64> = samples.into_iter().collect();
        samples.sort_by(f64::total_cmp);
        let at = |part: usize| samples[(samples.len() - 1) * part / 4];
        Quartiles {
            low: at(1),
            median: at(2),
            high: at(3),
        }
    }

    /// `1.02 (1.00 .. 1.05)`
    pub fn format(&self, decimals: usize) -> String {
        let Quartiles { low, median, high } = self;
        format!("{median:.decimals$} ({low:.decimals$} .. {high:.decimals$})")
    }
}

/// The order in which `count` candidates take their turns in a round: each round begins with
/// another one.
pub fn turns(round: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| (round + turn) % count)
}

/// Returns a cell for each row of `samples`: its median and, except for the first row, its ratio to
/// the first, sample by sample, with the quartiles.
pub fn compare(samples: &[Vec<f64>], decimals: usize) -> Vec<String> {
    let mut cells = Vec::new();
    for (at, own) in samples.iter().enumerate() {
        let median = Quartiles::of(own.iter().copied()).median;
        let ratios = Quartiles::of(own.iter().zip(&samples[0]).map(|(own, first)| own / first));
        cells.push(match at {
            0 => format!("{median:.decimals$}"),
            _ => format!("{median:.decimals$}; {}", ratios.format(2)),
        });
    }
    cells
}

/// A table in plain Markdown; all columns but the first are numbers.
pub fn table<'a>(corner: &'a str, columns: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::ASCII_MARKDOWN)
        .set_header([corner].into_iter().chain(columns));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
