use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::super::compose::Mail;
use super::dialogue::Dialogue;
use super::limits::Limits;
use super::reply::Reply;
use super::trouble::{Fault, Stage, Trouble};

/// How long a farewell or a reset may hold up what comes after it.
const COURTESY: Duration = Duration::from_secs(2);

/// How long a kept connection may take to show that it lives.
const PROBE: Duration = Duration::from_secs(5);

/// What the server says it can do, by EHLO keyword in capitals (RFC 5321, section 4.1.1.1).
#[derive(Debug, Default)]
pub(super) struct Offers(HashMap<String, String>);

impl Offers {
    pub(super) fn read(reply: &Reply) -> Self {
        let keyword = |line: &String| {
            // `AUTH=PLAIN` is how some old servers write it.
            let (word, rest) = line.split_once([' ', '=']).unwrap_or((line, ""));
            (word.to_ascii_uppercase(), rest.to_ascii_uppercase())
        };
        Self(reply.lines.iter().skip(1).map(keyword).collect())
    }

    pub(super) fn has(&self, keyword: &str) -> bool {
        self.0.contains_key(keyword)
    }

    pub(super) fn authenticates_by(&self, mechanism: &str) -> bool {
        self.0
            .get("AUTH")
            .is_some_and(|list| list.split_whitespace().any(|word| word == mechanism))
    }
}

/// A connection that is ready for mails: greeted, encrypted and logged in as asked.
#[derive(Debug)]
pub(crate) struct Session {
    dialogue: Dialogue,
    offers: Offers,
    /// False while a mail is under way, and for good after an error. A delivery that is dropped
    /// half-way (its job was cut off) so leaves a session that nobody uses again.
    at_rest: bool,
    rests_since: Instant,
    mails: usize,
    opened: Instant,
}

impl Session {
    pub(super) fn new(dialogue: Dialogue, offers: Offers) -> Self {
        let now = Instant::now();
        Self {
            dialogue,
            offers,
            at_rest: true,
            rests_since: now,
            mails: 0,
            opened: now,
        }
    }

    /// True once a mail was begun over it, so that the server may have given it up meanwhile.
    pub(super) fn was_used(&self) -> bool {
        self.mails > 0
    }

    /// Makes sure that it can take another mail; says goodbye if not.
    pub(super) async fn revive(&mut self, limits: &Limits) -> bool {
        if !self.at_rest {
            return false;
        }
        self.at_rest = false;
        if self.opened.elapsed() > limits.max_age || self.mails >= limits.max_mails {
            let _ = timeout(COURTESY, self.dialogue.ask(Stage::Mail, "QUIT")).await;
            return false;
        }
        if self.rests_since.elapsed() > limits.probe_after {
            let probe = self.dialogue.ask(Stage::Mail, "NOOP");
            if !matches!(timeout(PROBE, probe).await, Ok(Ok(_))) {
                return false;
            }
        }
        self.rest();
        true
    }

    /// Names sender and recipients; after it the mail waits for [`Session::hand_over`].
    pub(super) async fn address(&mut self, mail: &Mail) -> Result<(), Trouble> {
        self.at_rest = false;
        self.mails += 1;
        let result = self.offer(mail).await;
        self.settle(result).await
    }

    /// Sends the content. From here on a lost answer leaves it open whether the mail was taken.
    pub(super) async fn hand_over(
        &mut self,
        mail: &Mail,
        limit: Duration,
    ) -> Result<Reply, Trouble> {
        let result = match self.dialogue.ask_for(Stage::Data, "DATA", 354).await {
            Ok(_) => self.dialogue.content(&mail.content, limit).await,
            Err(trouble) => Err(trouble),
        };
        if result.is_ok() {
            self.rest();
        }
        self.settle(result).await
    }

    async fn offer(&mut self, mail: &Mail) -> Result<(), Trouble> {
        let options = self.options(mail)?;
        let sender = format!("MAIL FROM:<{}>{options}", mail.sender);
        self.dialogue.ask(Stage::Mail, &sender).await?;
        for recipient in &mail.recipients {
            // One refusal refuses the mail: half of it sent could be neither retried nor undone.
            let asked = self
                .dialogue
                .ask(Stage::Rcpt, &format!("RCPT TO:<{recipient}>"))
                .await;
            asked.map_err(|trouble| Trouble {
                recipient: Some(recipient.to_string()),
                ..trouble
            })?;
        }
        Ok(())
    }

    fn options(&self, mail: &Mail) -> Result<String, Trouble> {
        let mut options = String::new();
        if self.offers.has("SIZE") {
            options = format!(" SIZE={}", mail.content.len());
        }
        if mail.needs_utf8() {
            // RFC 6531, section 3.1: whoever offers SMTPUTF8 offers 8BITMIME too.
            if !self.offers.has("SMTPUTF8") || !self.offers.has("8BITMIME") {
                return Err(Trouble::new(Stage::Mail, Fault::NeedsUtf8));
            }
            options += " BODY=8BITMIME SMTPUTF8";
        }
        Ok(options)
    }

    /// After a refusal, makes ready for the next mail. It changes nothing for this one: a reset
    /// that fails only costs the connection.
    async fn settle<T>(&mut self, result: Result<T, Trouble>) -> Result<T, Trouble> {
        if let Err(trouble) = &result
            && trouble.leaves_connection_usable()
        {
            let reset = self.dialogue.ask(Stage::Mail, "RSET");
            if matches!(timeout(COURTESY, reset).await, Ok(Ok(_))) {
                self.rest();
            }
        }
        result
    }

    fn rest(&mut self) {
        self.at_rest = true;
        self.rests_since = Instant::now();
    }
}
