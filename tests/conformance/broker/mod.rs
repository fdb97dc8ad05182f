//! What every [`Broker`] must do, and what only RabbitMQ can be asked.

mod proxy;
mod rabbitmq;
mod scenarios;
mod setting;
mod wire;

/// Runs every scenario against one kind of broker.
macro_rules! conformance {
    ($setting:ty: $($scenario:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                super::setting::run::<$setting, _>(super::scenarios::$scenario).await;
            }
        )+
    };
}

/// The one list of scenarios.
macro_rules! every_broker {
    ($($module:ident: $setting:ident),+ $(,)?) => {
        $(
            mod $module {
                conformance! { super::setting::$setting:
                    what_is_published_arrives_intact,
                    a_queue_keeps_its_order,
                    thousands_of_messages_arrive_once,
                    no_more_than_the_prefetch_is_handed_out,
                    what_is_acknowledged_is_gone,
                    what_is_rejected_is_a_dead_letter,
                    a_dead_letter_survives_many_returns,
                    what_is_released_goes_to_another_consumer,
                    what_is_released_too_often_is_a_dead_letter,
                    a_dropped_consumer_returns_its_deliveries_in_front,
                    a_stopped_consumer_hands_out_what_arrived_and_can_settle_it,
                    an_unsettled_delivery_comes_back_when_the_last_is_dropped,
                    settling_after_the_end_is_harmless,
                    lanes_are_separate,
                    consumers_share_a_queue,
                    status_counts_messages_and_consumers,
                    declaring_is_idempotent_and_announces_what_it_creates,
                    publishing_declares_a_missing_queue,
                    an_unknown_queue_takes_nothing,
                    consuming_declares_a_missing_queue,
                    topology_names_every_lane,
                    closing_ends_everything,
                }
            }
        )+
    };
}

every_broker! {
    embedded: Embedded,
    amqp: RabbitMq,
}
