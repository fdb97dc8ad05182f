use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A mail to be sent. Every mailbox is written as in RFC 5322: `ada@example.com` or
/// `Ada Lovelace <ada@example.com>`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendEmail {
    /// Who gets it. May be empty if `cc` or `bcc` is not; the three together hold 1 to 100
    /// recipients.
    pub(crate) to: Vec<String>,
    /// The subject, in any script, on one line. With a `template` that has one it may be left
    /// out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    /// The body as plain text. At least one of `text` and `html` must be there, or a `template`;
    /// with both, the reader's program chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// The body as HTML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) html: Option<String>,
    /// The name of a template that brings the body, and the subject unless one is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) template: Option<String>,
    /// What the template is filled in with: everything that it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<serde_json::Map<String, serde_json::Value>>,
    /// The sender, if not the installation's own (`MAIL_FROM`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// Who gets a copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) cc: Vec<String>,
    /// Who gets a copy that the others do not see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) bcc: Vec<String>,
    /// Where answers go, if not to the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reply_to: Option<String>,
    /// Further headers, such as `List-Unsubscribe`. The headers that other fields or the mail
    /// system set (`From`, `Bcc`, `Date`, `Content-Type` and so on) are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    /// Attached files, at most 700 KiB together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) attachments: Vec<Attachment>,
}

/// An attached file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attachment {
    /// The name that the reader sees.
    pub(crate) filename: String,
    /// The media type, such as `application/pdf`; `application/octet-stream` if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    /// The content in base64 (RFC 4648, section 4).
    pub(crate) content: String,
}

/// A payload that shows what there is.
pub(crate) fn example() -> SendEmail {
    SendEmail {
        to: vec!["Ada Lovelace <ada@example.com>".to_owned()],
        subject: Some("Your order has left".to_owned()),
        text: Some("It arrives tomorrow.".to_owned()),
        html: Some("<p>It arrives <b>tomorrow</b>.</p>".to_owned()),
        attachments: vec![Attachment {
            filename: "order.txt".to_owned(),
            content_type: Some("text/plain".to_owned()),
            content: "T3JkZXIgMTIzCg==".to_owned(),
        }],
        ..SendEmail::default()
    }
}
