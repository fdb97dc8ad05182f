use async_trait::async_trait;

use super::error::classify;
use super::{SqliteStore, causes, one, operations, steps};
use crate::job::{JobId, ProcessId, UniqueKey};
use crate::store::{
    Advance, Begun, DeadGroup, Edit, JobFilter, NewOperation, Operated, Operation,
    OperationCommand, OperationId, Operations, StepBy, StoreResult,
};

#[async_trait]
impl Operations for SqliteStore {
    async fn cancel(&self, id: JobId, by: &str) -> StoreResult<Operated> {
        one::cancel(self, id, by).await.map_err(classify)
    }

    async fn cancel_requests(&self, process: ProcessId) -> StoreResult<Vec<(JobId, i32)>> {
        one::cancel_requests(self, process).await.map_err(classify)
    }

    async fn requeue(&self, id: JobId, edit: Option<&Edit>, by: &str) -> StoreResult<Operated> {
        one::requeue(self, id, edit, by).await.map_err(classify)
    }

    async fn count_dead(&self, filter: &JobFilter) -> StoreResult<u64> {
        operations::count_dead(self, filter).await.map_err(classify)
    }

    async fn dead_groups(
        &self,
        filter: &JobFilter,
        limit: u32,
        skip: u32,
    ) -> StoreResult<Vec<DeadGroup>> {
        causes::dead_groups(self, filter, limit, skip)
            .await
            .map_err(classify)
    }

    async fn begin(&self, operation: &NewOperation) -> StoreResult<Operation> {
        operations::begin(self, operation).await.map_err(classify)
    }

    async fn begin_once(&self, operation: &NewOperation, key: &UniqueKey) -> StoreResult<Begun> {
        operations::begin_once(self, operation, key)
            .await
            .map_err(classify)
    }

    async fn operation(&self, id: OperationId) -> StoreResult<Option<Operation>> {
        operations::operation(self, id).await.map_err(classify)
    }

    async fn operations(
        &self,
        limit: u32,
        before: Option<OperationId>,
    ) -> StoreResult<Vec<Operation>> {
        operations::operations(self, limit, before)
            .await
            .map_err(classify)
    }

    async fn command(
        &self,
        id: OperationId,
        command: OperationCommand,
        by: &str,
    ) -> StoreResult<Option<Operation>> {
        operations::command(self, id, command, by)
            .await
            .map_err(classify)
    }

    async fn advance(
        &self,
        by: &StepBy,
        only: Option<OperationId>,
    ) -> StoreResult<Option<Advance>> {
        steps::advance(self, by, only).await.map_err(classify)
    }
}
