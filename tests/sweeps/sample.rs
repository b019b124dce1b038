//! Which points of a sweep are tried.

/// By `wish`, which is WHARF_SWEEP: all; every Nth from the Mth on, for `N+M`; one in so many, from the first on, or for
/// `other` from one that the clock says. And how one says so again.
pub fn sample<T>(points: Vec<T>, wish: &str, one_in: usize) -> (Vec<T>, String) {
    let (step, from) = match wish.split_once('+') {
        _ if wish == "all" => (1, 0),
        Some((step, from)) => (step.parse().unwrap(), from.parse().unwrap()),
        None => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            let from = if wish == "other" { now.subsec_micros() as usize } else { 0 };
            (one_in, from % one_in)
        }
    };
    (points.into_iter().skip(from).step_by(step).collect(), format!("{step}+{from}"))
}
