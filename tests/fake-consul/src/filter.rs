//! The part of Consul's filter language that clients use.
//!
//! `==`, `!=`, `in`, `not in`, `contains`, `not contains`, `is empty`, `is not empty`, `and`, `or`,
//! `not` and parentheses, over the fields of what is asked for. `matches` is refused.

use serde_json::Value;

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not an expression.
    #[error("Failed to create boolean expression evaluator: at {at:?}: expected {expected}")]
    Syntax {
        /// What could not be read.
        at: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// No such field.
    #[error("Failed to create boolean expression evaluator: Selector {0:?} is not valid")]
    Selector(String),
    /// No such field of a check: that is seen only when one is looked at.
    #[error("Selector {0:?} is not valid")]
    CheckSelector(String),
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Entries of a service's health.
    Entry,
    /// Services of an agent.
    Service,
    /// Checks of an agent.
    Check,
}

impl Subject {
    /// Refuses fields that it does not have; keys of maps are free.
    fn checked(self, selector: Vec<String>) -> Result<Vec<String>, FilterError> {
        let parts: Vec<&str> = selector.iter().map(String::as_str).collect();
        let known = match self {
            Self::Entry => matches!(
                parts.as_slice(),
                ["Checks"]
                    | ["Node", "ID" | "Node" | "Address" | "Datacenter" | "Meta"]
                    | ["Node" | "Service", "Meta", _]
                    | [
                        "Service",
                        "ID" | "Service"
                            | "Tags"
                            | "Address"
                            | "Meta"
                            | "Port"
                            | "EnableTagOverride"
                    ]
                    | ["Service", "Weights", "Passing" | "Warning"]
            ),
            Self::Service => matches!(
                parts.as_slice(),
                ["ID" | "Service" | "Tags" | "Address" | "Meta" | "Port" | "EnableTagOverride"]
                    | ["Meta", _]
                    | ["Weights", "Passing" | "Warning"]
            ),
            Self::Check => matches!(
                parts.as_slice(),
                ["Node" | "CheckID" | "Name" | "Status" | "Notes" | "Output" | "Type"]
                    | ["ServiceID" | "ServiceName" | "ServiceTags"]
            ),
        };
        match self {
            _ if known => Ok(selector),
            Self::Check => Err(FilterError::CheckSelector(selector.join("."))),
            _ => Err(FilterError::Selector(selector.join("."))),
        }
    }
}

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    Equal(Vec<String>, String),
    /// The field holds the value: an element of a list, a key of a map, a part of a text.
    Contains(Vec<String>, String),
    Empty(Vec<String>),
    Not(Box<Filter>),
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
}

impl Filter {
    /// Reads an expression.
    pub fn parse(text: &str, subject: Subject) -> Result<Self, FilterError> {
        let mut parser = Parser { tokens: tokens(text)?, next: 0, subject };
        let filter = parser.or()?;
        parser.end()?;
        Ok(filter)
    }

    /// Whether it holds for one of what was asked for.
    pub fn matches(&self, entry: &Value) -> bool {
        match self {
            Self::Equal(selector, value) => {
                select(entry, selector).is_some_and(|field| text(field) == *value)
            }
            Self::Contains(selector, value) => match select(entry, selector) {
                Some(Value::Array(items)) => items.iter().any(|item| text(item) == *value),
                Some(Value::Object(map)) => map.contains_key(value),
                Some(Value::String(whole)) => whole.contains(value.as_str()),
                _ => false,
            },
            Self::Empty(selector) => match select(entry, selector) {
                Some(Value::Array(items)) => items.is_empty(),
                Some(Value::Object(map)) => map.is_empty(),
                Some(Value::String(whole)) => whole.is_empty(),
                _ => true,
            },
            Self::Not(inner) => !inner.matches(entry),
            Self::And(left, right) => left.matches(entry) && right.matches(entry),
            Self::Or(left, right) => left.matches(entry) || right.matches(entry),
        }
    }
}

fn select<'a>(entry: &'a Value, selector: &[String]) -> Option<&'a Value> {
    selector.iter().try_fold(entry, |value, key| value.get(key))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Sign(&'static str),
}

fn tokens(text: &str) -> Result<Vec<Token>, FilterError> {
    const SIGNS: [&str; 7] = ["==", "!=", "(", ")", ".", "[", "]"];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
        let length = if let Some(sign) = sign {
            tokens.push(Token::Sign(sign));
            sign.len()
        } else if first == '"' || first == '`' {
            let inner = &rest[1..];
            let unclosed =
                || FilterError::Syntax { at: rest.to_owned(), expected: "a closing quote" };
            let end = inner.find(first).ok_or_else(unclosed)?;
            tokens.push(Token::Quoted(inner[..end].to_owned()));
            end + 2
        } else {
            let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/');
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            if end == 0 {
                return Err(FilterError::Syntax {
                    at: rest.to_owned(),
                    expected: "a word, a value or an operator",
                });
            }
            tokens.push(Token::Word(rest[..end].to_owned()));
            end
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// A recursive descent; `or` binds least, then `and`, then `not`.
struct Parser {
    tokens: Vec<Token>,
    next: usize,
    subject: Subject,
}

impl Parser {
    fn or(&mut self) -> Result<Filter, FilterError> {
        let mut left = self.and()?;
        while self.take_word("or") {
            left = Filter::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Filter, FilterError> {
        let mut left = self.not()?;
        while self.take_word("and") {
            left = Filter::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Filter, FilterError> {
        if self.take_word("not") {
            return Ok(Filter::Not(Box::new(self.not()?)));
        }
        if self.take_sign("(") {
            let inner = self.or()?;
            return if self.take_sign(")") { Ok(inner) } else { Err(self.expected("`)`")) };
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Filter, FilterError> {
        // `"value" in Selector` begins with a value, everything else with a selector.
        if let Some(Token::Quoted(value)) = self.peek().cloned() {
            self.next += 1;
            return self.value_in(value);
        }
        let begin = self.next;
        let selector = self.selector()?;
        if self.take_sign("==") {
            return Ok(Filter::Equal(self.subject.checked(selector)?, self.value()?));
        }
        if self.take_sign("!=") {
            return Ok(Filter::Not(Box::new(Filter::Equal(
                self.subject.checked(selector)?,
                self.value()?,
            ))));
        }
        if self.take_word("is") {
            let not = self.take_word("not");
            let empty = Filter::Empty(self.subject.checked(selector)?);
            return if self.take_word("empty") {
                Ok(negated(not, empty))
            } else {
                Err(self.expected("`empty`"))
            };
        }
        if self.peek_word(0, "in") || self.peek_word(0, "not") && self.peek_word(1, "in") {
            self.next = begin;
            let value = self.value()?;
            return self.value_in(value);
        }
        let not = self.take_word("not");
        if self.take_word("contains") {
            return Ok(negated(
                not,
                Filter::Contains(self.subject.checked(selector)?, self.value()?),
            ));
        }
        Err(self.expected("`==`, `!=`, `is empty`, `in` or `contains`"))
    }

    fn value_in(&mut self, value: String) -> Result<Filter, FilterError> {
        let not = self.take_word("not");
        if !self.take_word("in") {
            return Err(self.expected("`in`"));
        }
        Ok(negated(not, Filter::Contains(self.subject.checked(self.selector()?)?, value)))
    }

    fn selector(&mut self) -> Result<Vec<String>, FilterError> {
        let mut path = vec![self.word()?];
        loop {
            if self.take_sign(".") {
                path.push(self.word()?);
            } else if self.take_sign("[") {
                path.push(self.value()?);
                if !self.take_sign("]") {
                    return Err(self.expected("`]`"));
                }
            } else {
                return Ok(path);
            }
        }
    }

    fn word(&mut self) -> Result<String, FilterError> {
        match self.peek().cloned() {
            Some(Token::Word(word)) => {
                self.next += 1;
                Ok(word)
            }
            _ => Err(self.expected("a field's name")),
        }
    }

    fn value(&mut self) -> Result<String, FilterError> {
        match self.peek().cloned() {
            Some(Token::Word(value) | Token::Quoted(value)) => {
                self.next += 1;
                Ok(value)
            }
            _ => Err(self.expected("a value")),
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn peek_word(&self, ahead: usize, word: &str) -> bool {
        matches!(self.tokens.get(self.next + ahead), Some(Token::Word(other)) if other == word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek_word(0, word);
        self.next += usize::from(found);
        found
    }

    fn take_sign(&mut self, sign: &'static str) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.next += usize::from(found);
        found
    }

    fn end(&self) -> Result<(), FilterError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.expected("the end")) }
    }

    fn expected(&self, expected: &'static str) -> FilterError {
        let at = self.peek().map_or("the end".to_owned(), |token| format!("{token:?}"));
        FilterError::Syntax { at, expected }
    }
}

fn negated(not: bool, filter: Filter) -> Filter {
    if not { Filter::Not(Box::new(filter)) } else { filter }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> bool {
        let entry = serde_json::json!({
            "Node": {"Node": "n1", "Meta": null},
            "Service": {"ID": "w1", "Port": 80, "Tags": ["a", "b"], "Meta": {"env": "prod", "x-y": "1"}},
            "Checks": [],
        });
        Filter::parse(text, Subject::Entry)
            .unwrap_or_else(|error| panic!("{text}: {error}"))
            .matches(&entry)
    }

    #[test]
    fn expressions_hold_as_consuls_do() {
        for text in [
            r#"Service.Meta.env == "prod""#,
            "Service.Meta.env==prod",
            "Service.Port == 80 and Node.Node != n2",
            r#""a" in Service.Tags"#,
            "a in Service.Tags and c not in Service.Tags",
            "Service.Tags contains b",
            r#"Service.Meta["x-y"] == `1`"#,
            "Node.Meta is empty and Service.Tags is not empty",
            "not (Service.ID == w2) or Service.ID == w3",
            "Checks is empty",
            "Service.ID == no or Service.ID == w1 and Service.Port == 80",
        ] {
            assert!(holds(text), "{text}");
        }
        assert!(!holds("Service.Meta.none == prod"));
        assert!(holds("Service.Meta.none != prod"));
    }

    #[test]
    fn what_is_asked_for_has_its_own_fields() {
        for (text, subject) in [
            (r#"ServiceID == "web-1" and Status != passing"#, Subject::Check),
            ("ServiceTags contains blue", Subject::Check),
            ("Meta.env == prod and Weights.Passing == 1", Subject::Service),
        ] {
            Filter::parse(text, subject).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(Filter::parse(text, Subject::Entry).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in [
            "",
            "Service.Meta.env",
            "Bogus == 1",
            "Service.ID ==",
            "(Service.ID == a",
            "Service.ID == a b",
            "\"a",
            "Service.ID matches a",
        ] {
            assert!(Filter::parse(text, Subject::Entry).is_err(), "{text}");
        }
    }
}
