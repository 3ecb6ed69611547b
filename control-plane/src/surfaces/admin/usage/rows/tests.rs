use super::*;

#[test]
fn no_text_of_a_csv_file_is_a_formula() {
    for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
        assert_eq!(harmless(formula), format!("'{formula}"));
    }
    for text in ["", "/", "Acme = Co", "'=1"] {
        assert_eq!(harmless(text), text);
    }
}
