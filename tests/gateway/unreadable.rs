//! Calls of which nothing can be read any more: whose they are is known all the same, and they can be removed.

use serde_json::json;

use crate::archives::{Library, over};

const SEAL: (&str, &str) = ("TANDEM_ENCRYPTION_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");

#[actix_web::test]
async fn a_call_whose_key_is_lost_is_its_users_and_can_be_taken_along_and_removed() {
    let library = Library::new(&[SEAL]).await;
    let (lost, other, bobs) = (
        over("ann", 9, "Nobody knows.", "A secret."),
        over("ann", 8, "Hello.", "You talked."),
        over("bob", 7, "b", "c"),
    );
    for record in [&lost, &other, &bobs] {
        library.keep(record).await;
    }
    let file = rusqlite::Connection::open(library.path.join("users.sqlite")).unwrap();
    let rename = |table: &str, column: &str, id: &str| {
        let text = format!("substr({column}, 1, 16) || 'deadbeef' || substr({column}, 25)");
        let sql = format!("UPDATE {table} SET {} = {text} WHERE {id} IN (?1, ?2)", column);
        file.execute(&sql, [lost.session.to_string(), bobs.session.to_string()]).unwrap()
    };
    assert_eq!((rename("sessions", "recap", "id"), rename("lines", "text", "session")), (2, 2));
    let (ann, path) = (library.token("ann"), |session: uuid::Uuid| format!("/v1/sessions/{session}"));
    for method in ["GET", "DELETE"] {
        let told = library.ask(method, &path(bobs.session), Some(&ann)).await;
        assert_eq!(told.refusal(), (404, "unknown_session".to_owned()), "{method}: somebody else's");
    }
    let told = library.ask("GET", &path(lost.session), Some(&ann)).await;
    let bare = (&json!(true), &json!(""), &json!([]));
    assert_eq!((&told.body()["sealed"], &told.body()["recap"], &told.body()["transcript"]), bare);
    let export = library.ask("GET", "/v1/me/export", Some(&ann)).await.body();
    let calls = export["sessions"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    assert_eq!((&calls[0]["recap"], &calls[0]["sealed"]), (&json!("You talked."), &json!(null)));
    assert_eq!((&calls[1]["sealed"], &calls[1]["recap"], &calls[1]["transcript"]), bare);
    assert_eq!(library.ask("DELETE", &path(lost.session), Some(&ann)).await.status, 200);
    assert_eq!(library.ask("GET", &path(lost.session), Some(&ann)).await.refusal().0, 404);
}
