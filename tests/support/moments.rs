//! Flows by the moment in which they were sent, so that each can be judged by what was the case then.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// How long a moment is.
pub const MOMENT: Duration = Duration::from_millis(10);
/// A packet may be on its way for so long before it meets the rules, on a busy machine.
pub const LATENESS: Duration = Duration::from_millis(100);

/// What became of the flows that were sent in one moment.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    /// Handed to the pod's kernel.
    pub sent: u64,
    /// Arrived outside.
    pub received: u64,
    /// Came with another source than they had to.
    pub wrong: u64,
    /// How many of those that had to be masqueraded came with which source.
    pub masqueraded_as: BTreeMap<IpAddr, u64>,
    /// The first of these: the source seen, and the destination.
    example: Option<(IpAddr, IpAddr)>,
}

impl Moment {
    /// The number of the moment that comes so long after the start.
    pub fn after(start: Duration) -> u32 {
        u32::try_from(start.as_millis() / MOMENT.as_millis()).unwrap_or(u32::MAX)
    }

    /// Counts a flow that came with this source and had to come with another.
    pub fn is_wrong(&mut self, source: IpAddr, destination: IpAddr) {
        self.wrong += 1;
        self.example.get_or_insert((source, destination));
    }
}

/// All moments from the start.
#[derive(Clone, Debug, Default)]
pub struct Moments(Vec<Moment>);

/// Flows of one moment that came with a wrong source.
#[derive(Clone, Copy, Debug)]
pub struct WrongFlows {
    /// How long after the start they were sent.
    pub after: Duration,
    /// How many.
    pub number: u64,
    source: IpAddr,
    destination: IpAddr,
}

impl fmt::Display for WrongFlows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            after,
            number,
            source,
            destination,
        } = self;
        let after = after.as_secs_f64();
        write!(
            f,
            "after {after:.2} s: {destination} saw {source} ({number} in that moment)"
        )
    }
}

impl Moments {
    /// The moment of this number.
    pub fn at(&mut self, number: u32) -> &mut Moment {
        let number = number as usize;
        if self.0.len() <= number {
            self.0.resize_with(number + 1, Moment::default);
        }
        &mut self.0[number]
    }

    /// Each with how long after the start it began.
    pub fn all(&self) -> impl Iterator<Item = (Duration, &Moment)> {
        (0..).map(|number| MOMENT * number).zip(&self.0)
    }

    /// Adds what another thread has counted.
    pub fn add(&mut self, other: Self) {
        for (number, moment) in (0..).zip(other.0) {
            let own = self.at(number);
            own.sent += moment.sent;
            own.received += moment.received;
            own.wrong += moment.wrong;
            for (source, flows) in moment.masqueraded_as {
                *own.masqueraded_as.entry(source).or_default() += flows;
            }
            own.example = own.example.or(moment.example);
        }
    }

    /// Over all moments.
    pub fn sum(&self, count: impl Fn(&Moment) -> u64) -> u64 {
        self.0.iter().map(count).sum()
    }

    /// The moments with wrong flows.
    pub fn wrong_flows(&self) -> impl Iterator<Item = WrongFlows> {
        self.all().filter_map(|(after, moment)| {
            let (source, destination) = moment.example?;
            Some(WrongFlows {
                after,
                number: moment.wrong,
                source,
                destination,
            })
        })
    }
}
