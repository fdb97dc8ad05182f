//! A message that goes there and back, to see that one can.

use std::time::Duration;

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection};

use super::connection::answer;
use super::topology::{JOBS, reply_code, unavailable};
use crate::broker::BrokerError;

/// How long a broker in good health may take to confirm one message.
const CONFIRM: Duration = Duration::from_secs(5);
const ACCESS_REFUSED: u16 = 403;

/// The queue is of this connection alone, and gone with it. Its name begins as all of ours do, so
/// that permissions by name are tried as well.
pub(super) async fn run(link: &Connection) -> Result<(), BrokerError> {
    let name = format!("longshore.doctor.{}", uuid::Uuid::now_v7());
    let channel = asked("open a channel", answer(link.create_channel()).await)?;
    let confirms = channel.confirm_select(ConfirmSelectOptions::default());
    asked("ask for confirms", answer(confirms).await)?;
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(name.as_str().into(), options, FieldTable::default());
    asked(
        "declare a queue (permission `configure`)",
        answer(declared).await,
    )?;
    let bound = channel.queue_bind(
        name.as_str().into(),
        JOBS.into(),
        name.as_str().into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    asked(
        "bind a queue (permissions `write` and `read`)",
        answer(bound).await,
    )?;
    let publishing = async {
        let sent = channel.basic_publish(
            JOBS.into(),
            name.as_str().into(),
            BasicPublishOptions::default(),
            b"{}",
            BasicProperties::default(),
        );
        sent.await?.await
    };
    match tokio::time::timeout(CONFIRM, publishing).await {
        Ok(confirmed) => asked("publish (permission `write`)", confirmed)?,
        Err(_) => {
            let why = "a message was not confirmed in time: the broker blocks publishers by a \
                       memory or disk alarm, or is overloaded";
            return Err(BrokerError::Blocked(why.to_owned()));
        }
    };
    let options = BasicGetOptions { no_ack: true };
    let got = channel.basic_get(name.as_str().into(), options);
    let got = asked("consume (permission `read`)", answer(got).await)?;
    match got {
        Some(_) => Ok(()),
        None => Err(BrokerError::Unavailable(format!(
            "a message through the exchange `{JOBS}` did not arrive"
        ))),
    }
}

fn asked<T>(what: &str, answer: lapin::Result<T>) -> Result<T, BrokerError> {
    answer.map_err(|error| match reply_code(&error) {
        Some(ACCESS_REFUSED) => BrokerError::Refused(format!("cannot {what}: {error}")),
        _ => unavailable(&error),
    })
}
