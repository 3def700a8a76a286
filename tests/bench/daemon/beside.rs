//! One changed CIDR beside a large set of someone else's, a blocklist say.

use std::io;
use std::thread;

use crate::change::REST;
use crate::configurations::Flip;
use crate::samples::{Samples, print_head, print_line, ratio};
use crate::support::netns::Namespace;
use crate::support::nft::Nft;
use crate::watched::Watched;
use crate::yardstick;

const FLIP: Flip = Flip::one_of(64);
/// As many intervals as blocklists by country have.
const FOREIGN_ELEMENTS: u32 = 200_000;
const N: usize = 50;

/// Prints the table.
pub(crate) fn print(has_root: bool) -> io::Result<()> {
    if !has_root {
        println!("\nBeside a foreign set: left out, for such a set needs root.");
        return Ok(());
    }
    print_head("File renamed into place, beside a foreign set of 200,000 intervals");
    println!(" {FLIP}");
    let (alone, beside) = (Namespace::new()?, Namespace::new()?);
    Nft::host().apply(&beside, &foreign_set())?;
    let (mut watched_alone, _) = Watched::start(&alone, &FLIP.file(0))?;
    let (mut watched_beside, _) = Watched::start(&beside, &FLIP.file(0))?;
    let (mut samples_alone, mut samples_beside) = (Samples::default(), Samples::default());
    // They take turns, so that both see the same machine.
    for version in 1..=N {
        thread::sleep(REST);
        samples_alone.push(watched_alone.swap(&FLIP.file(version))?.in_kernel);
        samples_beside.push(watched_beside.swap(&FLIP.file(version))?.in_kernel);
    }
    yardstick::check(&alone, FLIP, N)?;
    yardstick::check(&beside, FLIP, N)?;
    let of_alone = Some(&samples_alone);
    print_line("daemon alone", &samples_alone, of_alone, "");
    let times = ratio(samples_beside.median(), samples_alone.median());
    let said = format!("{times:.2} times");
    print_line("daemon beside the set", &samples_beside, of_alone, &said);
    Ok(())
}

/// Every other address, so that no two intervals become one.
fn foreign_set() -> String {
    let first = u32::from_be_bytes([32, 0, 0, 0]);
    let address = |number| std::net::Ipv4Addr::from_bits(first + 2 * number).to_string();
    let elements: Vec<String> = (0..FOREIGN_ELEMENTS).map(address).collect();
    let elements = elements.join(",");
    format!(
        "table ip blocklist {{ set blocked {{ type ipv4_addr; flags interval; elements = {{ {elements} }} }}; }}"
    )
}
