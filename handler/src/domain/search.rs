//! The search for the refused changes in a batch, if Route 53 does not say which ones they are.
//!
//! A refused batch is halved until the refused part is alone. That takes about nine refusals for one change, so this
//! search would not get far where many changes beside each other are refused. After some refusals in a row, it
//! tries single changes that are spread over everything that waits. From one that is accepted it goes on in both
//! directions, in parts that become larger. After many refusals in a row it gives up.

/// One refused change in a full batch takes about nine refusals.
const BEFORE_PROBES: u32 = 10;

/// Without a limit, a role without the permission would cost two requests for each change.
pub const MAX_REFUSALS_IN_A_ROW: u32 = 30;

/// What is left to send.
#[derive(Debug)]
pub struct Search<T> {
    /// The next part is the last one.
    waiting: Vec<Vec<T>>,
    refusals_in_a_row: u32,
    probes: u32,
    /// What surrounds the change that is being tried alone.
    around: Option<Around<T>>,
}

#[derive(Debug)]
struct Around<T> {
    /// The position in `waiting`.
    at: usize,
    before: Vec<T>,
    after: Vec<T>,
}

impl<T> Search<T> {
    /// `first_place` decides where single changes are tried. With another number in each run, what one search gave up is
    /// found by a later one.
    pub fn new(mut parts: Vec<Vec<T>>, first_place: u32) -> Search<T> {
        parts.reverse();
        Search { waiting: parts, refusals_in_a_row: 0, probes: first_place, around: None }
    }

    /// The part to send next. `None` if nothing is left, or after too many refusals in a row.
    pub fn next_part(&mut self) -> Option<Vec<T>> {
        self.restore();
        match self.refusals_in_a_row {
            MAX_REFUSALS_IN_A_ROW.. => None,
            BEFORE_PROBES.. => self.probe(),
            _ => self.waiting.pop(),
        }
    }

    pub fn accepted(&mut self) {
        self.refusals_in_a_row = 0;
        let Some(Around { before, after, .. }) = self.around.take() else { return };
        // The nearest changes come first, in the halves of a refused part, too.
        let mut before = growing(before.into_iter().rev()).into_iter();
        let mut after = growing(after.into_iter()).into_iter();
        let mut parts = Vec::new();
        loop {
            match (after.next(), before.next()) {
                (None, None) => break,
                nearest => parts.extend([nearest.0, nearest.1].into_iter().flatten()),
            }
        }
        self.waiting.extend(parts.into_iter().rev());
    }

    /// The part was refused. `parts` of it are sent again, the first one first.
    pub fn refused(
        &mut self,
        parts: impl IntoIterator<Item = Vec<T>, IntoIter: DoubleEndedIterator>,
    ) {
        self.refusals_in_a_row += 1;
        self.restore();
        self.again(parts);
    }

    /// Sends parts next.
    pub fn again(
        &mut self,
        parts: impl IntoIterator<Item = Vec<T>, IntoIter: DoubleEndedIterator>,
    ) {
        self.waiting.extend(parts.into_iter().rev().filter(|part| !part.is_empty()));
    }

    pub fn refusals_in_a_row(&self) -> u32 {
        self.refusals_in_a_row
    }

    /// Everything that was not sent.
    pub fn rest(mut self) -> Vec<Vec<T>> {
        self.restore();
        self.waiting.reverse();
        self.waiting
    }

    /// One change, at another place each time.
    fn probe(&mut self) -> Option<Vec<T>> {
        self.probes = self.probes.wrapping_add(1);
        let all: usize = self.waiting.iter().map(Vec::len).sum();
        let mut place = place(self.probes, all);
        for at in (0..self.waiting.len()).rev() {
            let Some(beyond) = place.checked_sub(self.waiting[at].len()) else {
                let mut before = self.waiting.remove(at);
                let mut one = before.split_off(place);
                let after = one.split_off(1);
                self.around = Some(Around { at, before, after });
                return Some(one);
            };
            place = beyond;
        }
        None
    }

    /// Puts back what surrounds a change that was not accepted.
    fn restore(&mut self) {
        let Some(Around { at, before, after }) = self.around.take() else { return };
        let parts = [after, before].into_iter().filter(|part| !part.is_empty());
        self.waiting.splice(at..at, parts);
    }
}

/// The halves of a part.
pub fn halves<T>(mut part: Vec<T>) -> [Vec<T>; 2] {
    let right = part.split_off(part.len() / 2);
    [part, right]
}

/// Places that are spread evenly over `0..all`, however many there are: the bits of the number in reverse order are the
/// places behind the binary point.
fn place(number: u32, all: usize) -> usize {
    let fraction = u64::from(number.reverse_bits());
    let place = (fraction * u64::try_from(all).unwrap_or_default()) >> u32::BITS;
    usize::try_from(place).unwrap_or_default()
}

/// Parts with 1, 2, 4, … items.
fn growing<T>(items: impl Iterator<Item = T>) -> Vec<Vec<T>> {
    let mut items = items.peekable();
    let mut parts = Vec::new();
    let mut size = 1;
    while items.peek().is_some() {
        parts.push(items.by_ref().take(size).collect());
        size *= 2;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends parts of at most 150 numbers in the two rounds of two passes. Returns the numbers that were neither accepted nor refused alone
    /// although they would be accepted, and the number of requests.
    fn search(all: u32, is_refused: impl Fn(u32) -> bool) -> (Vec<u32>, usize) {
        let mut left: Vec<u32> = (0..all).collect();
        let mut requests = 0;
        for first_place in [0, 1_000, 77_777, 78_777] {
            let parts = left.chunks(150).map(<[u32]>::to_vec).collect();
            let mut search = Search::new(parts, first_place);
            let mut judged = Vec::new();
            while let Some(part) = search.next_part() {
                requests += 1;
                if !part.iter().any(|number| is_refused(*number)) {
                    judged.extend(part);
                    search.accepted();
                } else if part.len() == 1 {
                    judged.extend(part);
                    search.refused([]);
                } else {
                    search.refused(halves(part));
                }
            }
            let mut rest = search.rest().concat();
            rest.sort_unstable();
            judged.sort_unstable();
            judged.dedup();
            assert_eq!(judged.len() + rest.len(), left.len(), "nothing is lost or sent twice");
            left = rest;
        }
        left.retain(|number| !is_refused(*number));
        (left, requests)
    }

    #[test]
    fn a_few_refused_changes_are_found_with_few_requests() {
        assert_eq!(search(150, |_| false), (vec![], 1));
        assert_eq!(search(150, |number| number == 70), (vec![], 15));
    }

    #[test]
    fn refused_changes_beside_each_other_do_not_conceal_the_others() {
        for (first, last) in [(0, 99), (100, 199), (0, 899), (100, 999), (50, 949)] {
            let (missed, requests) = search(1_000, |number| (first..=last).contains(&number));
            assert_eq!(missed, Vec::<u32>::new(), "{first} to {last}");
            assert!(requests < 400, "{first} to {last}: {requests}");
        }
        let (missed, requests) = search(1_000, |number| !(450..550).contains(&number));
        assert_eq!(missed, Vec::<u32>::new());
        assert!(requests < 400, "{requests}");
    }

    #[test]
    fn spread_refused_changes_do_not_conceal_the_others() {
        for every in [2, 5, 20] {
            assert_eq!(search(1_000, |number| number % every == 0).0, Vec::<u32>::new(), "{every}");
        }
    }

    #[test]
    fn the_search_gives_up_if_everything_is_refused() {
        assert_eq!(search(100, |_| true).1, 4 * 30);
        assert_eq!(search(10_000, |_| true).1, 4 * 30);
    }

    #[test]
    fn places_are_spread_evenly() {
        let places: Vec<usize> = (1..8).map(|number| place(number, 80)).collect();
        assert_eq!(places, [40, 20, 60, 10, 50, 30, 70]);
        assert_eq!(place(u32::MAX, 3), 2);
    }
}
