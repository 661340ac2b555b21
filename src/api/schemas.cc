// The schemas of the OpenAPI document. Answers may hold more than is required here.
#include "api/openapi.h"

namespace cairn::api {

namespace {

constexpr std::string_view kSchemas = R"json({
"Text": {"type": "string"},
"Archive": {"type": "string", "format": "binary",
  "description": "tar; in a request plain or compressed by gzip or zstd"},
"Time": {"type": ["string", "null"], "format": "date-time"},
"Texts": {"type": "array", "items": {"$ref": "#/components/schemas/Text"}},
"Reason": {"type": "object", "required": ["target", "code", "detail"], "properties": {
  "target": {"$ref": "#/components/schemas/Text"}, "code": {"$ref": "#/components/schemas/Text"},
  "detail": {"$ref": "#/components/schemas/Text"}}},
"Problem": {"type": "object", "required": ["type", "title", "status", "code"], "properties": {
  "type": {"$ref": "#/components/schemas/Text"}, "title": {"$ref": "#/components/schemas/Text"},
  "status": {"type": "integer"},
  "code": {"enum": ["invalid", "not_found", "exists", "denied", "conflict", "busy", "refused",
    "unhealthy", "corrupt", "no_space", "unavailable", "cancelled", "internal"]},
  "detail": {"$ref": "#/components/schemas/Text"}, "request": {"$ref": "#/components/schemas/Text"},
  "operation": {"$ref": "#/components/schemas/Text"},
  "reasons": {"type": "array", "items": {"$ref": "#/components/schemas/Reason"}},
  "holder": {"$ref": "#/components/schemas/Text"}, "probe": {"$ref": "#/components/schemas/Text"},
  "log_tail": {"$ref": "#/components/schemas/Texts"}, "data": {"enum": ["old", "new"]}}},
"Face": {"type": "object", "properties": {
  "subdomain": {"$ref": "#/components/schemas/Text"}, "domain": {"$ref": "#/components/schemas/Text"},
  "target_port": {"type": "integer"}, "access_list_id": {"type": "integer"}}},
"Volume": {"type": "object", "required": ["target", "scope"], "properties": {
  "target": {"$ref": "#/components/schemas/Text"},
  "scope": {"enum": ["absolute", "stage", "project", "instance", "named", "project_named",
    "ephemeral"]},
  "source": {"$ref": "#/components/schemas/Text"}, "name": {"$ref": "#/components/schemas/Text"}}},
"VolumeView": {"type": "object", "required": ["target", "scope", "source", "origin", "place"],
  "properties": {
  "target": {"$ref": "#/components/schemas/Text"}, "scope": {"$ref": "#/components/schemas/Text"},
  "source": {"$ref": "#/components/schemas/Text"}, "name": {"$ref": "#/components/schemas/Text"},
  "origin": {"enum": ["config", "set"]}, "overrides": {"type": "boolean"},
  "place": {"type": ["string", "null"]}, "problem": {"type": ["string", "null"]}}},
"VolumeList": {"type": "object", "required": ["volumes"], "properties": {
  "volumes": {"type": "array", "items": {"$ref": "#/components/schemas/VolumeView"}}}},
"Registry": {"type": "object", "required": ["name", "url", "user", "workloads"], "properties": {
  "name": {"$ref": "#/components/schemas/Text"}, "url": {"$ref": "#/components/schemas/Text"},
  "user": {"$ref": "#/components/schemas/Text"}, "workloads": {"$ref": "#/components/schemas/Texts"},
  "created_at": {"$ref": "#/components/schemas/Time"}, "updated_at": {"$ref": "#/components/schemas/Time"}}},
"RegistryList": {"type": "object", "required": ["registries"], "properties": {
  "registries": {"type": "array", "items": {"$ref": "#/components/schemas/Registry"}}}},
"RegistryLogin": {"type": "object", "required": ["url", "user", "password"],
  "additionalProperties": false, "properties": {
  "url": {"type": "string", "description": "HOST or HOST:PORT"},
  "user": {"$ref": "#/components/schemas/Text"},
  "password": {"type": "string", "writeOnly": true, "description": "or a token"}}},
"ImageConfig": {"type": "object", "required": ["image"], "properties": {
  "image": {"$ref": "#/components/schemas/Text"}, "registry_name": {"$ref": "#/components/schemas/Text"},
  "port": {"type": "integer"}, "healthcheck": {"$ref": "#/components/schemas/Text"},
  "env": {"type": "object", "additionalProperties": {"type": "string"}},
  "volumes": {"type": "array", "items": {"$ref": "#/components/schemas/Volume"}},
  "cpu_limit": {"type": "number", "description": "cores"},
  "memory_limit": {"type": "integer", "description": "MiB"},
  "default_tag": {"$ref": "#/components/schemas/Text"}, "max_instances": {"type": "integer"},
  "command": {"$ref": "#/components/schemas/Texts"}, "entrypoint": {"$ref": "#/components/schemas/Texts"},
  "user": {"$ref": "#/components/schemas/Text"}, "publish": {"$ref": "#/components/schemas/Texts"},
  "shm_size": {"type": "integer", "description": "MiB"},
  "stop_timeout": {"type": ["integer", "null"], "description": "seconds"},
  "stop_signal": {"$ref": "#/components/schemas/Text"},
  "handover": {"enum": ["auto", "overlap", "stop-first"]},
  "pull": {"enum": ["always", "missing", "never"]}}},
"Definition": {"type": "object", "required": ["name", "kind", "config"], "properties": {
  "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"}, "kind": {"enum": ["image"]},
  "public_faces": {"type": "array", "items": {"$ref": "#/components/schemas/Face"}},
  "config": {"$ref": "#/components/schemas/ImageConfig"}}},
"Release": {"type": "object",
  "required": ["id", "image", "digest", "tag", "env_version", "data_generation", "created_at"],
  "properties": {
  "id": {"$ref": "#/components/schemas/Text"}, "image": {"$ref": "#/components/schemas/Text"},
  "image_id": {"$ref": "#/components/schemas/Text"},
  "digest": {"type": "string", "description": "the image id where no registry knows the image"},
  "tag": {"$ref": "#/components/schemas/Text"}, "state": {"$ref": "#/components/schemas/Text"},
  "env_version": {"type": "integer"}, "config_version": {"type": "integer"},
  "data_generation": {"type": "integer"}, "created_at": {"$ref": "#/components/schemas/Time"}}},
"Instance": {"type": "object", "properties": {
  "container_name": {"$ref": "#/components/schemas/Text"},
  "container_id": {"$ref": "#/components/schemas/Text"}, "release": {"$ref": "#/components/schemas/Text"},
  "state": {"$ref": "#/components/schemas/Text"}, "health": {"$ref": "#/components/schemas/Text"},
  "address": {"$ref": "#/components/schemas/Text"}, "created_at": {"$ref": "#/components/schemas/Time"}}},
"Workload": {"type": "object", "required": ["id", "name", "kind", "state", "desired", "config"],
  "properties": {
  "id": {"$ref": "#/components/schemas/Text"}, "name": {"$ref": "#/components/schemas/Text"},
  "kind": {"$ref": "#/components/schemas/Text"},
  "state": {"enum": ["running", "stopped", "degraded", "not_deployed", "deploying", "recovering",
    "removing", "unknown"]},
  "desired": {"enum": ["running", "stopped"]}, "holder": {"type": ["string", "null"]},
  "public_faces": {"type": "array", "items": {"$ref": "#/components/schemas/Face"}},
  "config": {"$ref": "#/components/schemas/ImageConfig"},
  "volumes": {"type": "array", "items": {"$ref": "#/components/schemas/Volume"}},
  "release": {"anyOf": [{"$ref": "#/components/schemas/Release"}, {"type": "null"}]},
  "instances": {"type": "array", "items": {"$ref": "#/components/schemas/Instance"}},
  "data_generation": {"type": "integer"}, "env_version": {"type": "integer"},
  "config_version": {"type": "integer"}, "created_at": {"$ref": "#/components/schemas/Time"},
  "updated_at": {"$ref": "#/components/schemas/Time"},
  "status": {"enum": ["created", "updated", "unchanged"], "description": "of an apply"}}},
"WorkloadList": {"type": "object", "required": ["workloads"], "properties": {
  "workloads": {"type": "array", "items": {"$ref": "#/components/schemas/Workload"}}}},
"DeployOptions": {"type": "object", "additionalProperties": false, "properties": {
  "tag": {"$ref": "#/components/schemas/Text"}, "force": {"type": "boolean"},
  "allow_anonymous": {"$ref": "#/components/schemas/Texts"},
  "fresh_volumes": {"$ref": "#/components/schemas/Texts"}, "wait": {"type": "boolean"}}},
"DeployResult": {"type": "object", "required": ["status", "release", "total_ms", "warnings"],
  "properties": {
  "status": {"enum": ["deployed", "unchanged"]}, "release": {"$ref": "#/components/schemas/Release"},
  "total_ms": {"type": "integer"}, "hold_ms": {"type": "integer"},
  "warnings": {"$ref": "#/components/schemas/Texts"}}},
"WaitOption": {"type": "object", "additionalProperties": false, "properties": {
  "wait": {"type": "boolean", "description": "wait for a lock that is taken"}}},
"Done": {"type": "object", "required": ["status", "warnings"], "properties": {
  "status": {"$ref": "#/components/schemas/Text"}, "warnings": {"$ref": "#/components/schemas/Texts"}}},
"LogLine": {"type": "object", "required": ["stream", "text"], "properties": {
  "stream": {"enum": ["stdout", "stderr"]}, "text": {"$ref": "#/components/schemas/Text"}}},
"Logs": {"type": "object", "required": ["lines"], "properties": {
  "lines": {"type": "array", "items": {"$ref": "#/components/schemas/LogLine"}},
  "truncated": {"type": "boolean"}}},
"CaptureOptions": {"type": "object", "additionalProperties": false, "properties": {
  "consistency": {"enum": ["paused", "stopped", "live"]},
  "labels": {"type": "object", "additionalProperties": {"type": "string"}},
  "max_hold": {"type": ["string", "integer"], "description": "a duration, or seconds"},
  "pre": {"$ref": "#/components/schemas/Text"}, "post": {"$ref": "#/components/schemas/Text"},
  "wait": {"type": "boolean"}}},
"SnapshotVolume": {"type": "object",
  "required": ["index", "target", "scope", "source", "bytes", "files"], "properties": {
  "index": {"type": "integer"}, "target": {"$ref": "#/components/schemas/Text"},
  "scope": {"$ref": "#/components/schemas/Text"}, "source": {"$ref": "#/components/schemas/Text"},
  "bytes": {"type": "integer"}, "files": {"type": "integer"},
  "walked": {"type": "integer"}, "changed_files": {"type": "integer"},
  "changed_bytes": {"type": "integer"}}},
"SkippedVolume": {"type": "object", "required": ["target", "scope", "code", "reason"], "properties": {
  "target": {"$ref": "#/components/schemas/Text"}, "scope": {"$ref": "#/components/schemas/Text"},
  "code": {"$ref": "#/components/schemas/Text"}, "reason": {"$ref": "#/components/schemas/Text"}}},
"Snapshot": {"type": "object", "required": ["id", "workload_id", "state", "hold_ms", "volumes",
  "skipped", "repository_snapshot", "warnings"], "properties": {
  "id": {"$ref": "#/components/schemas/Text"}, "workload_id": {"$ref": "#/components/schemas/Text"},
  "workload": {"$ref": "#/components/schemas/Text"}, "operation": {"$ref": "#/components/schemas/Text"},
  "state": {"enum": ["cut", "stored", "failed"]}, 
  "reason": {"enum": ["manual", "pre_restore", "import", "adopted"]},
  "consistency": {"$ref": "#/components/schemas/Text"},
  "labels": {"type": "object", "additionalProperties": {"type": "string"}},
  "hold_ms": {"type": "integer"}, "bytes": {"type": "integer"}, "files": {"type": "integer"},
  "files_walked": {"type": "integer", "description": "in the hold"},
  "files_changed": {"type": "integer", "description": "put aside in the hold"},
  "bytes_changed": {"type": "integer"},
  "volumes": {"type": "array", "items": {"$ref": "#/components/schemas/SnapshotVolume"}},
  "skipped": {"type": "array", "items": {"$ref": "#/components/schemas/SkippedVolume"}},
  "repository_snapshot": {"type": ["string", "null"]},
  "adopted_from": {"type": ["string", "null"],
    "description": "the snapshot of another program that it was made of"},
  "data_generation": {"type": "integer"},
  "release": {"type": ["string", "null"]}, "created_at": {"$ref": "#/components/schemas/Time"},
  "stored_at": {"$ref": "#/components/schemas/Time"}, "verified_at": {"$ref": "#/components/schemas/Time"},
  "warnings": {"$ref": "#/components/schemas/Texts"}}},
"SnapshotList": {"type": "object", "required": ["snapshots"], "properties": {
  "snapshots": {"type": "array", "items": {"$ref": "#/components/schemas/Snapshot"}}}},
"Mapping": {"type": "object", "required": ["path", "target"], "additionalProperties": false,
  "properties": {
  "path": {"type": "string", "description": "of a directory in the snapshot, absolute"},
  "target": {"type": "string", "description": "of the declared volume that it is the content of"}}},
"AdoptOptions": {"type": "object", "required": ["snapshot", "map"], "additionalProperties": false,
  "properties": {
  "snapshot": {"type": "string", "pattern": "^[0-9a-f]{8,64}$",
    "description": "its id in the repository, or the first digits of it"},
  "map": {"type": "array", "minItems": 1, "maxItems": 64,
    "items": {"$ref": "#/components/schemas/Mapping"}}}},
"UndoOptions": {"type": "object", "additionalProperties": false, "properties": {
  "on_failure": {"enum": ["undo", "keep"]}, "also_stop": {"$ref": "#/components/schemas/Texts"},
  "wait": {"type": "boolean"}}},
"RestoreOptions": {"type": "object", "additionalProperties": false, "properties": {
  "on_failure": {"enum": ["undo", "keep"]}, "also_stop": {"$ref": "#/components/schemas/Texts"},
  "only": {"type": "array", "minItems": 1, "maxItems": 64,
    "items": {"$ref": "#/components/schemas/Text"},
    "description": "targets of the volumes to restore; all without it"},
  "wait": {"type": "boolean"}}},
"RestoreResult": {"type": "object", "required": ["status", "warnings"], "properties": {
  "status": {"enum": ["restored", "undone", "kept", "planned"]}, "started": {"type": "boolean"},
  "hold_ms": {"type": "integer"}, "cairn_ms": {"type": "integer"},
  "undo": {"type": ["string", "null"]}, "applied": {"$ref": "#/components/schemas/Text"},
  "untouched": {"$ref": "#/components/schemas/Texts"}, "storing": {"type": ["string", "null"]},
  "volumes": {"type": "array", "description": "of a plan", "items": {"type": "object"}},
  "stops": {"$ref": "#/components/schemas/Texts"}, "readers": {"$ref": "#/components/schemas/Texts"},
  "will_start": {"type": "boolean"}, "warnings": {"$ref": "#/components/schemas/Texts"}}},
"Undo": {"type": "object", "required": ["id", "workload_id", "state"], "properties": {
  "id": {"$ref": "#/components/schemas/Text"}, "workload_id": {"$ref": "#/components/schemas/Text"},
  "workload": {"$ref": "#/components/schemas/Text"}, "operation": {"$ref": "#/components/schemas/Text"},
  "snapshot": {"type": ["string", "null"]}, "pre_restore_snapshot": {"type": ["string", "null"]},
  "data_generation": {"type": "integer"}, "volumes": {"$ref": "#/components/schemas/Texts"},
  "state": {"enum": ["available", "applying", "undone", "discarded", "expired"]},
  "expires_at": {"$ref": "#/components/schemas/Time"}, "created_at": {"$ref": "#/components/schemas/Time"}}},
"UndoList": {"type": "object", "required": ["undos"], "properties": {
  "undos": {"type": "array", "items": {"$ref": "#/components/schemas/Undo"}}}},
"Operation": {"type": "object", "required": ["id", "kind", "state", "phase", "progress"], "properties": {
  "id": {"$ref": "#/components/schemas/Text"}, "kind": {"$ref": "#/components/schemas/Text"},
  "workload_id": {"$ref": "#/components/schemas/Text"}, "actor": {"$ref": "#/components/schemas/Text"},
  "state": {"enum": ["running", "done", "failed", "cancelled", "interrupted"]},
  "phase": {"$ref": "#/components/schemas/Text"},
  "progress": {"type": "object", "properties": {"bytes_done": {"type": "integer"},
    "bytes_total": {"type": "integer"}, "items_done": {"type": "integer"},
    "items_total": {"type": "integer"}}},
  "result": {"type": "object"}, "error": {"$ref": "#/components/schemas/Problem"},
  "warnings": {"$ref": "#/components/schemas/Texts"}, "started_at": {"$ref": "#/components/schemas/Time"},
  "finished_at": {"$ref": "#/components/schemas/Time"}}},
"OperationList": {"type": "object", "required": ["operations"], "properties": {
  "operations": {"type": "array", "items": {"$ref": "#/components/schemas/Operation"}}}},
"EventStream": {"type": "string", "description": "Server-Sent Events; each data is JSON"},
"Event": {"type": "object", "required": ["id", "time", "kind", "message"], "properties": {
  "id": {"type": "integer"}, "time": {"$ref": "#/components/schemas/Time"},
  "kind": {"$ref": "#/components/schemas/Text"}, "workload_id": {"$ref": "#/components/schemas/Text"},
  "operation": {"$ref": "#/components/schemas/Text"}, "message": {"$ref": "#/components/schemas/Text"},
  "data": {}}},
"EventList": {"type": "object", "required": ["events"], "properties": {
  "events": {"type": "array", "items": {"$ref": "#/components/schemas/Event"}}}},
"AuditEntry": {"type": "object", "properties": {
  "id": {"type": "integer"}, "time": {"$ref": "#/components/schemas/Time"},
  "actor": {"$ref": "#/components/schemas/Text"}, "action": {"$ref": "#/components/schemas/Text"},
  "subject": {"$ref": "#/components/schemas/Text"}, "detail": {"$ref": "#/components/schemas/Text"}}},
"AuditList": {"type": "object", "required": ["audit"], "properties": {
  "audit": {"type": "array", "items": {"$ref": "#/components/schemas/AuditEntry"}}}},
"Setting": {"type": "object", "required": ["key", "value", "source"], "properties": {
  "key": {"$ref": "#/components/schemas/Text"}, "value": {"$ref": "#/components/schemas/Text"},
  "source": {"enum": ["set", "config", "default"]}, "default": {"$ref": "#/components/schemas/Text"},
  "help": {"$ref": "#/components/schemas/Text"}}},
"SettingList": {"type": "object", "required": ["settings"], "properties": {
  "settings": {"type": "array", "items": {"$ref": "#/components/schemas/Setting"}}}},
"SettingValue": {"type": "object", "required": ["value"], "additionalProperties": false,
  "properties": {"value": {"type": ["string", "integer"]}}},
"RecoveryKit": {"type": "object", "required": ["repository", "password", "sealing_key"], "properties": {
  "repository": {"$ref": "#/components/schemas/Text"}, "password": {"$ref": "#/components/schemas/Text"},
  "sealing_key": {"$ref": "#/components/schemas/Text"}}},
"Finding": {"type": "object", "required": ["code", "subject", "detail"], "properties": {
  "code": {"$ref": "#/components/schemas/Text"}, "subject": {"$ref": "#/components/schemas/Text"},
  "detail": {"$ref": "#/components/schemas/Text"}}},
"Findings": {"type": "object", "required": ["status"], "properties": {
  "status": {"enum": ["clean", "damaged"]},
  "findings": {"type": "array", "items": {"$ref": "#/components/schemas/Finding"}}}},
"Info": {"type": "object", "required": ["version"], "properties": {
  "version": {"$ref": "#/components/schemas/Text"}, "data_dir": {"$ref": "#/components/schemas/Text"},
  "socket": {"$ref": "#/components/schemas/Text"}, "engine": {"type": "object"},
  "repository": {"type": "object"}, "recovering": {"$ref": "#/components/schemas/Texts"},
  "operations_running": {"type": "integer"}, "started_at": {"$ref": "#/components/schemas/Time"}}},
"OpenApi": {"type": "object"},
"Health": {"type": "object", "required": ["status"], "properties": {
  "status": {"enum": ["ok", "ready", "recovering"]},
  "reasons": {"type": "array", "items": {"$ref": "#/components/schemas/Reason"}}}},
"Metrics": {"type": "string"}
})json";

}  // namespace

std::string_view schemas_json() {
  return kSchemas;
}

}  // namespace cairn::api
