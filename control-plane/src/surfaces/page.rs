//! A page of a list that is walked by a cursor.

/// Leaves at most `limit` of what was found, and answers whether there is a next page: one more was asked for than is shown.
pub(super) fn cut<T>(found: &mut Vec<T>, limit: i64) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    more
}
