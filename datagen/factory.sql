-- The factory: articles, their snippets, the work items on them, and what came of each. One file, one per project.
--
--   article ─┬─► snippet ──► item ─┬─► record      corpus writes the first two, generate the rest;
--            └──────────────────►  └─► reject      tokenizer and pack only read.
--
-- An article and its snippets are one transaction; an item's records, rejects and finished_at are one transaction.

create table if not exists meta (
  key   text primary key,
  value text not null
) strict;

create table if not exists article (
  id        integer primary key,             -- 1, 2, 3 ... in the order of the source
  title     text not null unique check (title <> ''),
  source    text not null,                   -- the file it came from, and where inside it
  sha256    text not null check (length(sha256) = 64),  -- of text
  num_words integer not null check (num_words > 0),
  text      text not null                    -- paragraphs with blank lines between
) strict;

create table if not exists snippet (
  id             integer primary key,
  article_id     integer not null references article,
  ordinal        integer not null check (ordinal >= 0),         -- within its article
  text           text not null check (text <> ''),              -- sentences with single spaces between
  first_sentence integer not null check (first_sentence >= 0),  -- index among its article's sentences
  num_sentences  integer not null check (num_sentences > 0),
  unique (article_id, ordinal)
) strict;

create table if not exists item (
  id             integer primary key,
  snippet_id     integer not null references snippet,
  prompt         text not null check (prompt <> ''),  -- a prompt type or a family
  prompt_version integer not null,
  finished_at    real,                                -- Unix seconds; null: still to do
  unique (snippet_id, prompt, prompt_version)
) strict;
create index if not exists item_to_do on item (id) where finished_at is null;

create table if not exists record (
  id         integer primary key,
  item_id    integer not null references item,
  snippet_id integer not null references snippet,
  article_id integer not null references article,
  family     text not null
             check (family in ('qpt', 'cloze', 'true_false', 'which_of_two', 'multiple_choice', 'who_when_where')),
  fact       text not null,                           -- the same fact, the same key, whatever family asks; '' for qpt
  phrasing   text not null,                           -- the template
  role       text not null check (role in ('train', 'probe')),  -- probe: an unseen phrasing of a fact that train teaches
  question   text not null check (question <> ''),
  answer     text not null check (answer <> ''),
  reference  text not null check (json_valid(reference)),       -- {"answer", "alternatives": [..], "source"}
  seed       integer not null,
  check ((family = 'qpt') = (fact = '')),
  check (role = 'train' or fact <> ''),
  unique (question)
) strict;
create index if not exists record_of_item on record (item_id);
create index if not exists record_of_article on record (article_id, role);
create index if not exists record_of_fact on record (fact, role);

create table if not exists reject (
  id       integer primary key,
  item_id  integer not null references item,
  family   text not null,
  phase    text not null check (phase <> ''),         -- where it was refused
  reason   text not null check (reason <> ''),
  question text not null,
  answer   text not null
) strict;
create index if not exists reject_of_item on reject (item_id);

pragma user_version = 1;
