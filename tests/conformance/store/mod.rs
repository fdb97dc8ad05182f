//! What every `Store` must do, whatever database is under it.
//!
//! The cases are functions over a [`world::World`]; the list below names each of them once, and
//! `backend!` runs the whole list on one database. A case that is missing from the list is a
//! compiler warning (dead code). A failed case leaves its database behind.

mod acceptance;
mod auditing;
mod backend;
mod cancelling;
mod claiming;
mod control;
mod dead_letters;
mod effects;
mod history;
mod importing;
mod keyring;
mod operating;
mod operations;
mod outbox;
mod postgres;
mod postgres_only;
mod processes;
mod progress;
mod promoting;
mod reading;
mod recording;
mod republishing;
mod schema;
mod selecting;
mod sending_back;
mod sqlite;
mod unique;
mod upkeep;
mod verifying;
mod world;

macro_rules! backend {
    ($name:ident: $backend:ty) => {
        mod $name {
            cases! { $backend =>
                schema(fresh): [
                    an_empty_database_lacks_every_migration,
                    migrating_twice_migrates_once,
                    two_migrators_at_once_are_safe,
                    asking_creates_nothing,
                ]
                acceptance(migrated): [
                    a_job_for_now_is_queued_under_its_first_dispatch,
                    a_job_for_later_is_scheduled,
                    a_moment_that_has_passed_is_now,
                    answers_come_in_order_and_the_outbox_covers_the_queued,
                    what_was_submitted_can_be_seen,
                    payloads_keep_every_byte,
                    a_batch_of_nothing_does_nothing,
                    the_same_id_again_is_a_replay,
                    a_refused_value_refuses_its_whole_batch,
                    acceptance_is_counted_for_every_process,
                ]
                unique(migrated): [
                    the_same_key_and_fingerprint_is_the_same_job,
                    the_same_key_with_another_fingerprint_is_refused,
                    keys_belong_to_their_scope,
                    the_first_of_a_batch_has_the_key,
                    a_hundred_at_once_are_one_job,
                    all_of_a_batch_or_none,
                    a_batch_that_is_refused_takes_no_key,
                    whole_batches_at_once_are_inserted_once,
                    a_key_outlives_its_pruned_job,
                ]
                dead_letters(migrated): [
                    a_dead_letter_is_listed_and_counted,
                    a_dead_letter_again_changes_nothing,
                    a_dead_letter_with_a_known_key_is_the_same,
                    a_dead_letter_leaves_a_job_of_its_id_alone,
                    a_kind_that_is_no_kind_reads_unknown,
                    a_forgotten_dispatch_is_restored,
                    an_older_dispatch_is_raised,
                    what_stands_otherwise_is_not_restored,
                ]
                outbox(migrated): [
                    a_fresh_entry_belongs_to_its_inserter,
                    a_lapsed_entry_goes_to_who_asks,
                    a_settled_entry_is_gone,
                    only_what_is_still_queued_is_published,
                    an_older_dispatch_is_not_published,
                    an_entry_with_nothing_left_is_deleted,
                    the_oldest_entries_come_first,
                    the_limit_is_not_spent_on_empty_entries,
                    an_entry_goes_to_one_of_many,
                ]
                promoting(migrated): [
                    nothing_is_promoted_before_it_is_due,
                    a_due_job_is_queued_as_a_new_dispatch,
                    a_due_retry_is_queued_as_a_new_dispatch,
                    the_most_overdue_go_first,
                    each_job_is_promoted_once,
                ]
                republishing(migrated): [
                    what_waits_too_long_is_published_again,
                    a_republished_job_waits_anew,
                    only_queued_jobs_of_the_queue_are_republished,
                    only_what_was_queued_before_the_moment_is_republished,
                    republishing_has_a_limit,
                ]
                claiming(migrated): [
                    a_claim_tells_all_about_the_run,
                    one_of_many_claimers_wins,
                    another_dispatch_loses,
                    an_unknown_job_is_lost_to_nobody,
                    a_running_job_is_lost_to_its_owner,
                    the_second_of_two_equal_requests_loses,
                    answers_come_in_the_order_of_the_requests,
                    a_lost_reply_is_claimed_over,
                    nobody_else_claims_over_an_epoch,
                    a_dead_process_wins_nothing,
                    a_process_that_never_was_wins_nothing,
                    owned_says_what_runs,
                ]
                recording(migrated): [
                    success_keeps_its_result,
                    a_retry_is_an_attempt_and_waits,
                    a_postponement_counts_nothing,
                    postponements_add_up_until_a_run_counts,
                    a_death_is_an_attempt_and_the_end,
                    a_hand_back_is_queued_again_in_the_high_lane,
                    another_owner_is_refused,
                    another_epoch_is_refused,
                    a_run_that_ended_is_refused,
                    an_unknown_job_is_refused,
                    only_the_first_of_two_records_counts,
                    answers_come_in_the_order_of_the_records,
                    one_of_many_recorders_is_believed,
                    the_longest_delay_is_kept,
                ]
                effects(migrated): [
                    effect_and_success_commit_together,
                    what_is_not_committed_leaves_nothing,
                    a_lost_claim_begins_nothing,
                    a_zombie_commits_nothing,
                    a_step_commits_while_the_job_goes_on,
                    a_burial_waits_for_a_commit_that_has_begun,
                    a_hand_back_finds_out_about_a_commit,
                    next_jobs_exist_if_and_only_if_it_succeeds,
                    a_key_makes_next_jobs_one,
                    handlers_at_once_all_get_through,
                ]
                processes(migrated): [
                    a_process_registers_and_beats,
                    numbers_are_never_used_again,
                    a_burial_rescues_what_ran,
                    a_burial_needs_the_counter_it_saw,
                    a_process_is_buried_once,
                    one_of_many_buries,
                    a_zombie_is_refused_everything,
                    a_claim_and_a_burial_do_not_overlap,
                    retiring_hands_back_and_counts_nothing,
                    retiring_twice_is_harmless,
                ]
                reading(migrated): [
                    an_unknown_job_is_none,
                    a_job_reads_the_same_everywhere,
                    the_attempt_is_that_of_the_current_run,
                    finished_names_the_ended_and_the_unknown,
                    a_list_is_newest_first_in_pages,
                    every_part_of_a_filter_must_match,
                    counts_are_by_queue_and_state,
                    the_database_says_what_it_is,
                    the_clock_goes_forward,
                ]
                operating(migrated): [
                    the_dead_are_requeued_oldest_first,
                    a_requeued_job_starts_over,
                    attempts_are_numbered_on,
                    nothing_but_the_dead_is_requeued,
                    only_the_dead_that_match_are_requeued,
                    a_requeued_job_leaves_its_old_dispatch_behind,
                    one_of_many_operators_requeues_a_job,
                ]
                control(migrated): [
                    a_pause_holds_until_it_is_resumed,
                    one_of_many_pauses,
                    what_is_handed_back_is_published_again_and_counted_nowhere,
                    the_last_report_of_the_living_counts,
                    a_depth_counts_what_has_not_come_to_a_good_end,
                    what_runs_is_told_by_process_the_oldest_first,
                    a_place_is_behind_what_was_sent_before,
                    a_place_tells_what_the_broker_has_not_confirmed,
                ]
                keyring(migrated): [
                    a_key_reads_as_it_was_made,
                    a_name_belongs_to_one_key_that_is_in_force,
                    the_same_key_twice_is_refused,
                    a_key_is_revoked_once_and_stays_on_record,
                    the_use_of_a_key_is_remembered_coarsely,
                ]
                selecting(migrated): [
                    tags_are_found_in_every_state,
                    several_kinds_and_queues_are_any_of_them,
                    times_are_those_of_acceptance,
                    errors_are_found_by_their_text,
                    the_dead_are_grouped_by_their_cause,
                    groups_are_made_of_what_a_pattern_picks,
                    what_is_rare_is_found_step_by_step,
                ]
                cancelling(migrated): [
                    what_waits_is_cancelled_at_once,
                    a_cancelled_jobs_message_is_stale,
                    what_runs_is_asked_to_stop,
                    an_end_that_comes_first_wins,
                    a_failure_before_the_stop_is_an_attempt,
                    a_cancelled_job_does_not_outlive_its_dead_worker,
                    what_has_ended_is_not_cancelled,
                    who_cancelled_what_is_on_record,
                    claims_and_cancellations_do_not_overlap,
                ]
                sending_back(migrated): [
                    the_dead_and_the_cancelled_are_sent_back,
                    an_edited_payload_is_kept_beside_the_first,
                    only_what_is_dead_or_cancelled_is_sent_back,
                ]
                operations(migrated): [
                    an_operation_goes_step_by_step_oldest_first,
                    beginning_twice_begins_once,
                    one_executor_at_a_time_has_an_operation,
                    who_takes_over_gets_the_last_batch_again,
                    what_was_published_is_not_given_again,
                    what_dies_again_is_not_sent_back_twice,
                    what_others_took_is_skipped,
                    an_operation_does_what_its_filter_says,
                    a_rate_is_kept,
                    an_operation_can_be_paused_and_cancelled,
                    the_purged_stay_in_the_balance,
                    the_purged_are_not_adopted_again,
                    many_executors_do_each_job_once,
                    a_key_begins_one_operation,
                    an_operation_that_fails_lets_the_others_pass,
                ]
                auditing(migrated): [
                    an_edit_is_on_record,
                    every_deed_is_on_record_with_its_doer,
                    the_record_is_read_in_pages_by_doer_and_deed,
                    the_record_is_kept_for_a_time,
                ]
                importing(migrated): [
                    an_imported_letter_is_a_dead_job_again,
                    what_is_there_is_left_alone,
                    a_purged_job_comes_back_beyond_its_dispatches,
                    a_pattern_selects_by_the_whole_error,
                ]
                upkeep(migrated): [
                    what_is_finished_goes_when_its_time_is_over,
                    the_live_are_never_pruned,
                    retentions_are_per_queue_and_state,
                    pruned_jobs_stay_in_the_balance,
                    the_balance_sheet_tells_every_state,
                ]
                verifying(migrated): [
                    a_sheet_counts_by_queue_and_kind,
                    a_row_that_is_gone_is_named,
                    a_failure_that_is_gone_is_named,
                    a_row_that_cannot_be_so_is_named,
                    an_end_that_was_changed_is_named,
                    what_is_not_named_is_counted,
                    a_count_that_was_changed_is_told,
                    a_question_without_an_answer_is_told,
                ]
                progress(migrated): [
                    the_last_word_of_a_run_is_shown,
                    it_is_gone_with_the_run_and_belongs_to_no_other,
                    what_ended_runs_said_is_pruned_and_nothing_else,
                ]
                history(migrated): [
                    random_histories_keep_the_rules,
                ]
            }
        }
    };
}

macro_rules! cases {
    ($backend:ty => $($module:ident($start:ident): [$($case:ident),* $(,)?])*) => {
        $(mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let world = $crate::store::world::World::$start::<$backend>().await;
                    $crate::store::$module::$case(&world).await;
                    world.close().await;
                }
            )*
        })*
    };
}

backend!(on_sqlite: crate::store::sqlite::SqliteFile);
backend!(on_postgres: crate::store::postgres::PostgresDatabase);
