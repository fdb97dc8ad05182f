use async_trait::async_trait;

use super::transaction::{COLD, HOT, WIDE, transact};
use super::{PostgresStore, causes, one, operations, steps};
use crate::job::{JobId, ProcessId, UniqueKey};
use crate::store::{
    Advance, Begun, DeadGroup, Edit, JobFilter, NewOperation, Operated, Operation,
    OperationCommand, OperationId, Operations, StepBy, StoreResult,
};

#[async_trait]
impl Operations for PostgresStore {
    async fn cancel(&self, id: JobId, by: &str) -> StoreResult<Operated> {
        transact!(self.pool, HOT, |tx| one::cancel(&mut tx, id, by))
    }

    async fn cancel_requests(&self, process: ProcessId) -> StoreResult<Vec<(JobId, i32)>> {
        transact!(self.pool, HOT, |tx| one::cancel_requests(&mut tx, process))
    }

    async fn requeue(&self, id: JobId, edit: Option<&Edit>, by: &str) -> StoreResult<Operated> {
        transact!(self.pool, HOT, |tx| one::requeue(&mut tx, id, edit, by))
    }

    async fn count_dead(&self, filter: &JobFilter) -> StoreResult<u64> {
        let _place = self.wide().await?;
        transact!(self.reads, WIDE, |tx| operations::count_dead(
            &mut tx, filter
        ))
    }

    async fn dead_groups(
        &self,
        filter: &JobFilter,
        limit: u32,
        skip: u32,
    ) -> StoreResult<Vec<DeadGroup>> {
        let _place = self.wide().await?;
        transact!(self.reads, WIDE, |tx| causes::dead_groups(
            &mut tx, filter, limit, skip
        ))
    }

    async fn begin(&self, operation: &NewOperation) -> StoreResult<Operation> {
        let _place = self.wide().await?;
        transact!(self.reads, WIDE, |tx| operations::begin(&mut tx, operation))
    }

    async fn begin_once(&self, operation: &NewOperation, key: &UniqueKey) -> StoreResult<Begun> {
        let _place = self.wide().await?;
        transact!(self.reads, WIDE, |tx| operations::begin_once(
            &mut tx, operation, key
        ))
    }

    async fn operation(&self, id: OperationId) -> StoreResult<Option<Operation>> {
        transact!(self.reads, COLD, |tx| operations::one_operation(
            &mut tx, id, false
        ))
    }

    async fn operations(
        &self,
        limit: u32,
        before: Option<OperationId>,
    ) -> StoreResult<Vec<Operation>> {
        transact!(self.reads, COLD, |tx| operations::operations(
            &mut tx, limit, before
        ))
    }

    async fn command(
        &self,
        id: OperationId,
        command: OperationCommand,
        by: &str,
    ) -> StoreResult<Option<Operation>> {
        transact!(self.reads, COLD, |tx| operations::command(
            &mut tx, id, command, by
        ))
    }

    async fn advance(
        &self,
        by: &StepBy,
        only: Option<OperationId>,
    ) -> StoreResult<Option<Advance>> {
        let mut taken = None;
        let answer = transact!(self.reads, COLD, |tx| steps::advance(
            &mut tx, by, only, &mut taken
        ));
        if let (Err(_), Some(id)) = (&answer, taken) {
            // What it failed of is told; that it is put off, too, or not, changes nothing in that.
            let _ = transact!(self.reads, COLD, |tx| operations::put_off(&mut tx, id));
        }
        answer
    }
}
