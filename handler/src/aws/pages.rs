//! Follows the pages of a list.

use std::collections::BTreeSet;

/// The pages of a list that were requested. Without it a page that leads to itself would never end.
#[derive(Debug, Default)]
pub(crate) struct Pages(BTreeSet<String>);

impl Pages {
    /// The token of the next page, `None` after the last one. The error is for an operator: the list is
    /// incomplete.
    pub(crate) fn next(&mut self, token: Option<String>) -> Result<Option<String>, &'static str> {
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(None) };
        if self.0.insert(token.clone()) {
            Ok(Some(token))
        } else {
            Err("a page leads to one that was read before")
        }
    }
}
