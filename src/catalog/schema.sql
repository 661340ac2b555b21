-- The catalog: what Cairn knows. One file, DATA/catalog.db, in WAL mode with synchronous=FULL.
-- Version 2.0 (PRAGMA user_version 2000). A change of this file needs a migration in schema.cc:
-- a new table or column with a default raises the minor version, anything else the major one.
--
-- Conventions: ids are a prefix and a ULID; times are milliseconds since 1970 UTC, 0 where there is
-- none; columns named _json hold JSON text; sealed columns hold XChaCha20-Poly1305 bytes bound to
-- table, row and column; booleans do not occur, states are words. Rows that outlive their workload
-- (places, snapshots, undos, operations, events, audit) hold its id without a foreign key.

-- Single facts about this file.
CREATE TABLE meta (
  key   TEXT NOT NULL PRIMARY KEY,
  value BLOB NOT NULL  -- 'sealing_check': a known text, sealed; proves that the key fits
) STRICT, WITHOUT ROWID;

-- What Cairn keeps running.
CREATE TABLE workloads (
  id              TEXT NOT NULL PRIMARY KEY,
  name            TEXT NOT NULL UNIQUE,
  kind            TEXT NOT NULL,
  config_json     TEXT NOT NULL,     -- without env values
  env_sealed      BLOB NOT NULL,     -- JSON record of env, sealed
  faces_json      TEXT NOT NULL,
  desired         TEXT NOT NULL CHECK (desired IN ('running', 'stopped', 'removed')),
  data_generation INTEGER NOT NULL,  -- raised by every restore and undo, never lowered
  env_version     INTEGER NOT NULL,
  config_version  INTEGER NOT NULL,
  created_ms      INTEGER NOT NULL,
  updated_ms      INTEGER NOT NULL
) STRICT;

-- Persisted volume declarations; they win over inline ones of the config with the same target.
CREATE TABLE volumes (
  workload_id TEXT NOT NULL REFERENCES workloads (id) ON DELETE CASCADE,
  target      TEXT NOT NULL,  -- container path
  source      TEXT NOT NULL,
  scope       TEXT NOT NULL,
  name        TEXT NOT NULL,
  updated_ms  INTEGER NOT NULL,
  PRIMARY KEY (workload_id, target)
) STRICT, WITHOUT ROWID;

-- Where a volume's data is, written at first use and never changed.
CREATE TABLE places (
  workload_id  TEXT NOT NULL,
  key          BLOB NOT NULL,  -- scope, NUL, source or name
  kind         TEXT NOT NULL CHECK (kind IN ('bind', 'volume', 'tmpfs')),
  path_or_name TEXT NOT NULL,
  created_ms   INTEGER NOT NULL,
  -- 'held' once a container has used it: an empty one is not filled from an image any more.
  content      TEXT NOT NULL DEFAULT 'new' CHECK (content IN ('new', 'held')),
  PRIMARY KEY (workload_id, key)
) STRICT, WITHOUT ROWID;

-- Results of deploys.
CREATE TABLE releases (
  id              TEXT NOT NULL PRIMARY KEY,
  workload_id     TEXT NOT NULL REFERENCES workloads (id) ON DELETE CASCADE,
  image           TEXT NOT NULL,
  image_id        TEXT NOT NULL,
  digest          TEXT NOT NULL,
  tag             TEXT NOT NULL,
  config_json     TEXT NOT NULL,
  env_sealed      BLOB NOT NULL,
  env_version     INTEGER NOT NULL,
  config_version  INTEGER NOT NULL,
  data_generation INTEGER NOT NULL,
  volumes_json    TEXT NOT NULL,
  faces_json      TEXT NOT NULL,
  mounts_json     TEXT NOT NULL,  -- what its containers mount: [{target, scope, kind, place}]
  state           TEXT NOT NULL
    CHECK (state IN ('deploying', 'running', 'retired', 'failed', 'stopped')),
  operation_id    TEXT NOT NULL,
  created_ms      INTEGER NOT NULL,
  finished_ms     INTEGER NOT NULL
) STRICT;
CREATE INDEX releases_by_workload ON releases (workload_id, created_ms);

-- Containers that Cairn made; a row is written before its container exists.
CREATE TABLE instances (
  container_name TEXT NOT NULL PRIMARY KEY,
  container_id   TEXT NOT NULL,  -- empty until created
  workload_id    TEXT NOT NULL,
  release_id     TEXT NOT NULL,  -- empty for a holder
  role           TEXT NOT NULL CHECK (role IN ('instance', 'holder')),
  state          TEXT NOT NULL CHECK (state IN ('creating', 'running', 'retiring')),
  port           INTEGER NOT NULL,
  created_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX instances_by_workload ON instances (workload_id);

-- Captured states. 'stored' is written only when the repository holds the snapshot durably.
CREATE TABLE snapshots (
  id                  TEXT NOT NULL PRIMARY KEY,
  workload_id         TEXT NOT NULL,
  workload_name       TEXT NOT NULL,
  operation_id        TEXT NOT NULL,
  state               TEXT NOT NULL CHECK (state IN ('cut', 'stored', 'failed')),
  reason              TEXT NOT NULL
    CHECK (reason IN ('manual', 'pre_restore', 'import', 'adopted')),
  consistency         TEXT NOT NULL,
  labels_json         TEXT NOT NULL,  -- record of text
  hold_ms             INTEGER NOT NULL,
  repository_snapshot TEXT NOT NULL,  -- 64 hex characters, empty until stored
  bytes               INTEGER NOT NULL,
  files               INTEGER NOT NULL,
  volumes_json        TEXT NOT NULL,  -- [{index, target, scope, source, bytes, files}]
  skipped_json        TEXT NOT NULL,  -- [{target, scope, code, reason}]
  warnings_json       TEXT NOT NULL,  -- [text]
  data_generation     INTEGER NOT NULL,
  release_id          TEXT NOT NULL,
  created_ms          INTEGER NOT NULL,
  stored_ms           INTEGER NOT NULL,
  verified_ms         INTEGER NOT NULL,
  -- 64 hex characters: the repository's snapshot of another program that it was made from
  adopted_from        TEXT NOT NULL DEFAULT '',
  CHECK (state <> 'stored' OR repository_snapshot <> '')
) STRICT;
CREATE INDEX snapshots_by_workload ON snapshots (workload_id, created_ms);
CREATE INDEX snapshots_by_repository_snapshot ON snapshots (repository_snapshot);

-- The data that was there before a restore, and the way back to it.
CREATE TABLE undos (
  id                   TEXT NOT NULL PRIMARY KEY,
  workload_id          TEXT NOT NULL,
  workload_name        TEXT NOT NULL,
  operation_id         TEXT NOT NULL,
  snapshot_id          TEXT NOT NULL,
  pre_restore_snapshot TEXT NOT NULL,  -- empty until the old data is stored
  made_generation      INTEGER NOT NULL,
  state                TEXT NOT NULL
    CHECK (state IN ('available', 'applying', 'undone', 'discarded', 'expired')),
  expires_ms           INTEGER NOT NULL,
  volumes_json         TEXT NOT NULL,  -- the trees on disk; the volume floor's own text
  created_ms           INTEGER NOT NULL
) STRICT;
CREATE INDEX undos_by_workload ON undos (workload_id, created_ms);
CREATE INDEX undos_by_operation ON undos (operation_id);

-- Long-running actions. Rows that are 'running' when the daemon starts were interrupted.
CREATE TABLE operations (
  id            TEXT NOT NULL PRIMARY KEY,
  kind          TEXT NOT NULL,
  workload_id   TEXT NOT NULL,
  actor         TEXT NOT NULL,
  state         TEXT NOT NULL
    CHECK (state IN ('running', 'done', 'failed', 'cancelled', 'interrupted')),
  phase         TEXT NOT NULL,
  bytes_done    INTEGER NOT NULL,
  bytes_total   INTEGER NOT NULL,
  items_done    INTEGER NOT NULL,
  items_total   INTEGER NOT NULL,
  result_json   TEXT NOT NULL,
  error_json    TEXT NOT NULL,
  warnings_json TEXT NOT NULL,
  started_ms    INTEGER NOT NULL,
  finished_ms   INTEGER NOT NULL
) STRICT;
CREATE INDEX operations_by_workload ON operations (workload_id, id);
CREATE INDEX operations_by_state ON operations (state, id);

-- What happened. AUTOINCREMENT: an id that a reader has seen is never given to another event.
CREATE TABLE events (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  time_ms      INTEGER NOT NULL,
  kind         TEXT NOT NULL,
  workload_id  TEXT NOT NULL,
  operation_id TEXT NOT NULL,
  message      TEXT NOT NULL,
  data_json    TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_workload ON events (workload_id, id);

-- Who did what, written before the doing.
CREATE TABLE audit (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  time_ms INTEGER NOT NULL,
  actor   TEXT NOT NULL,
  action  TEXT NOT NULL,
  subject TEXT NOT NULL,
  detail  TEXT NOT NULL
) STRICT;

-- Registries that ask for a login.
CREATE TABLE registries (
  name            TEXT NOT NULL PRIMARY KEY,
  url             TEXT NOT NULL,  -- host or host:port
  user            TEXT NOT NULL,
  password_sealed BLOB NOT NULL,
  created_ms      INTEGER NOT NULL,
  updated_ms      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Values that were set; the rest have defaults.
CREATE TABLE settings (
  key        TEXT NOT NULL PRIMARY KEY,
  value      TEXT NOT NULL,
  updated_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
