use longshore::job::{ErrorClass, JobId};

use crate::email::{Limits, Mailer};
use crate::{accepted_at, ends_as, failure, hello, mailer};

#[tokio::test]
async fn a_mail_becomes_one_file_and_a_repeat_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/new%20mail", folder.path().display());
    let mailer = Mailer::from_settings(&url, "shop@example.com").unwrap();
    let id = JobId::new();
    let mut contents = Vec::new();
    for _ in 0..2 {
        mailer
            .send(&hello(), id, accepted_at(), crate::in_an_hour())
            .await
            .unwrap();
        let names: Vec<_> = std::fs::read_dir(folder.path().join("new mail"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(names, [folder.path().join(format!("new mail/{id}.eml"))]);
        contents.push(std::fs::read_to_string(&names[0]).unwrap());
    }
    assert_eq!(contents[0], contents[1]);
    assert!(contents[0].contains(&format!("Message-ID: <{id}@example.com>\r\n")));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_an_outage() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("taken");
    std::fs::write(&file, "").unwrap();
    let mailer = mailer(&format!("file://{}", file.display()), Limits::default());
    let failure = failure(&mailer, &hello()).await;
    assert_eq!(ends_as(&failure), (ErrorClass::Unavailable, "email_write"));
}

#[test]
fn every_wrong_setting_is_told_at_once() {
    let errors = Mailer::from_settings("http://x", "nobody").unwrap_err();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("SMTP_URL: "), "{errors:?}");
    assert!(errors[1].starts_with("MAIL_FROM: "), "{errors:?}");
}
