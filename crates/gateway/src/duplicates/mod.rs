//! What to do about files of equal content: which copy stays, what a script would do about the others, and what that frees.
//!
//! Nothing here touches a file. The plan is for reading, the script is for a person to read and to run on the host.

mod plan;
mod rules;
mod script;

use std::sync::Arc;

use hostler_model::HostId;
pub use plan::{PlanTotals, PlannedGroup, PlannedName, Verdict, plan};
pub use rules::{Action, Keep, MAX_DIRS, Rules, is_below};
pub use script::{Script, head, tail, write_group};

use crate::store::{DuplicateFiles, DuplicateQuery, PageRequest, Store, StoreError};

/// Most groups that one plan's totals or one script looks at, those that could free most first.
pub const MAX_GROUPS: u64 = 10_000;
/// Most names that they look at.
pub const MAX_NAMES: u64 = 100_000;
/// Groups read at once.
const STEP: u64 = 200;

/// A way through the groups of a query, within [`MAX_GROUPS`] and [`MAX_NAMES`].
pub struct Walk {
    store: Arc<dyn Store>,
    query: DuplicateQuery,
    next: Option<PageRequest>,
    groups: u64,
    names: u64,
}

impl Walk {
    /// From the group that could free most on.
    pub fn new(store: Arc<dyn Store>, query: DuplicateQuery) -> Self {
        let first = PageRequest { limit: STEP as u32, cursor: None };
        Self { store, query, next: Some(first), groups: 0, names: 0 }
    }

    /// The next groups; `None` at the end or at the bounds.
    pub async fn step(&mut self) -> Result<Option<Vec<DuplicateFiles>>, StoreError> {
        if self.groups >= MAX_GROUPS || self.names >= MAX_NAMES {
            return Ok(None);
        }
        let Some(request) = self.next.take() else { return Ok(None) };
        let page = self.store.duplicate_files(self.query.clone(), request).await?;
        let mut items = page.items;
        let mut fit = 0;
        for item in &items {
            if self.groups >= MAX_GROUPS || self.names >= MAX_NAMES {
                break;
            }
            self.groups += 1;
            self.names += item.files.len() as u64;
            fit += 1;
        }
        let cut = fit < items.len();
        items.truncate(fit);
        self.next = page.next.map(|cursor| PageRequest {
            limit: STEP.min(MAX_GROUPS - self.groups).max(1) as u32,
            cursor: Some(cursor),
        });
        // What was read and does not fit any more is a rest too.
        if cut && self.next.is_none() {
            self.next = Some(PageRequest { limit: 1, cursor: None });
        }
        Ok(Some(items))
    }

    /// True when there are groups that were not looked at.
    pub fn is_cut(&self) -> bool {
        self.next.is_some()
    }
}

/// What the rules do to all groups of a query, within the bounds of [`Walk`]; on one host when it is given.
pub async fn totals(
    store: &Arc<dyn Store>,
    query: &DuplicateQuery,
    rules: &Rules,
    host: Option<HostId>,
) -> Result<PlanTotals, StoreError> {
    let mut totals = PlanTotals::default();
    let mut walk = Walk::new(store.clone(), query.clone());
    while let Some(groups) = walk.step().await? {
        for group in groups {
            totals.add(&plan(group, rules), host);
        }
    }
    totals.complete &= !walk.is_cut();
    Ok(totals)
}
