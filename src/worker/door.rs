use std::fmt;

use super::Invalid;

type Check<J> = dyn Fn(&J) -> Result<(), Vec<Invalid>> + Send + Sync;

/// What a door checks of a kind's jobs besides [`Job::validate`](super::Job::validate); made by
/// [`Job::door`](super::Job::door).
pub struct Door<J>(Option<Box<Check<J>>>);

impl<J> Door<J> {
    /// Checks nothing more.
    #[must_use]
    pub const fn open() -> Self {
        Self(None)
    }

    /// Runs this check, which answers as [`Job::validate`](super::Job::validate) does. It must
    /// not wait for anything.
    pub fn checking(
        check: impl Fn(&J) -> Result<(), Vec<Invalid>> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Box::new(check)))
    }

    pub(super) fn check(&self, job: &J) -> Result<(), Vec<Invalid>> {
        self.0.as_ref().map_or(Ok(()), |check| check(job))
    }
}

impl<J> fmt::Debug for Door<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.0.is_none();
        f.debug_struct("Door").field("open", &open).finish()
    }
}
