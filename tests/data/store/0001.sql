-- A database as the first tables hold it; never changed once released.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE answers (
	run_id VARCHAR NOT NULL, 
	sample_id VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	epoch INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	prompt_digest VARCHAR NOT NULL, 
	settings_digest VARCHAR NOT NULL, 
	response_id VARCHAR, 
	reused BOOLEAN NOT NULL, 
	error TEXT, 
	error_kind VARCHAR, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_answers PRIMARY KEY (run_id, sample_id, model, epoch, attempt), 
	CONSTRAINT fk_answers_response_id FOREIGN KEY(response_id) REFERENCES responses (id), 
	CONSTRAINT fk_answers_run_id FOREIGN KEY(run_id, sample_id) REFERENCES samples (run_id, sample_id)
);
INSERT INTO "answers" VALUES('01a2103e-9095-7e42-aa00-3148e10fead4','7','gpt',1,1,'q7','greedy','01a2103e-909d-7192-8e0b-190e403f87bb',0,NULL,NULL,'2026-11-25T01:07:45.437867+00:00');
INSERT INTO "answers" VALUES('01a2103e-9095-7e42-aa00-3148e10fead4','7','llama',1,1,'q7','greedy','01a2103e-90a1-723d-9358-81b1546bd8e4',0,NULL,NULL,'2026-11-25T01:07:45.441844+00:00');
CREATE TABLE responses (
	id VARCHAR NOT NULL, 
	request_digest VARCHAR NOT NULL, 
	offer VARCHAR NOT NULL, 
	text TEXT NOT NULL, 
	tool_calls TEXT, 
	finish_reason VARCHAR, 
	served_model VARCHAR, 
	runtime VARCHAR, 
	input_tokens INTEGER, 
	output_tokens INTEGER, 
	cache_read_input_tokens INTEGER, 
	cache_creation_input_tokens INTEGER, 
	reasoning_output_tokens INTEGER, 
	cost_usd VARCHAR, 
	latency_ms FLOAT, 
	ttft_ms FLOAT, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_responses PRIMARY KEY (id)
);
INSERT INTO "responses" VALUES('01a2103e-909d-7192-8e0b-190e403f87bb','request','gpt','yes','[{"id":"c","name":"look","arguments":"{\"a\": 1}"}]','stop','gpt-2026',NULL,12,3,NULL,NULL,NULL,'0.00012',12.5,NULL,'2026-11-25T01:07:45.437852+00:00');
INSERT INTO "responses" VALUES('01a2103e-90a1-723d-9358-81b1546bd8e4','r2','llama','no','[{"id":"c","name":"look","arguments":"{\"a\": 1}"}]','stop','gpt-2026',NULL,12,3,NULL,NULL,NULL,'0.00012',12.5,NULL,'2026-11-25T01:07:45.441833+00:00');
CREATE TABLE run_events (
	id INTEGER NOT NULL, 
	run_id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	detail TEXT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_run_events PRIMARY KEY (id), 
	CONSTRAINT fk_run_events_run_id FOREIGN KEY(run_id) REFERENCES runs (id)
);
INSERT INTO "run_events" VALUES(1,'01a2103e-9095-7e42-aa00-3148e10fead4','running','{}','2026-11-25T01:07:45.433841+00:00');
INSERT INTO "run_events" VALUES(2,'01a2103e-9095-7e42-aa00-3148e10fead4','finished','{"reason":"certain"}','2026-11-25T01:07:45.445807+00:00');
CREATE TABLE runs (
	id VARCHAR NOT NULL, 
	workload VARCHAR NOT NULL, 
	dataset_digest VARCHAR NOT NULL, 
	settings TEXT NOT NULL, 
	settings_digest VARCHAR NOT NULL, 
	seed BIGINT NOT NULL, 
	planned INTEGER NOT NULL, 
	created_at VARCHAR NOT NULL, 
	CONSTRAINT pk_runs PRIMARY KEY (id)
);
INSERT INTO "runs" VALUES('01a2103e-9095-7e42-aa00-3148e10fead4','support','d','{"floor":0.85,"models":["a","b"]}','s',7,10,'2026-11-25T01:07:45.429925+00:00');
CREATE TABLE samples (
	run_id VARCHAR NOT NULL, 
	sample_id VARCHAR NOT NULL, 
	position INTEGER NOT NULL, 
	segment TEXT, 
	cluster TEXT, 
	weight FLOAT NOT NULL, 
	input TEXT, 
	target TEXT, 
	CONSTRAINT pk_samples PRIMARY KEY (run_id, sample_id), 
	CONSTRAINT fk_samples_run_id FOREIGN KEY(run_id) REFERENCES runs (id)
);
INSERT INTO "samples" VALUES('01a2103e-9095-7e42-aa00-3148e10fead4','7',0,'de',NULL,2.0,'Is it?','yes');
CREATE TABLE scores (
	run_id VARCHAR NOT NULL, 
	sample_id VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	epoch INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	scorer_digest VARCHAR NOT NULL, 
	value FLOAT, 
	unparsed BOOLEAN NOT NULL, 
	extracted TEXT, 
	explanation TEXT, 
	cost_usd VARCHAR, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_scores PRIMARY KEY (run_id, sample_id, model, epoch, attempt, scorer_digest), 
	CONSTRAINT fk_scores_run_id FOREIGN KEY(run_id, sample_id, model, epoch, attempt) REFERENCES answers (run_id, sample_id, model, epoch, attempt)
);
INSERT INTO "scores" VALUES('01a2103e-9095-7e42-aa00-3148e10fead4','7','gpt',1,1,'scorer',1.0,0,'yes',NULL,'0.5','2026-11-25T01:07:45.437883+00:00');
INSERT INTO "scores" VALUES('01a2103e-9095-7e42-aa00-3148e10fead4','7','llama',1,1,'scorer',0.0,0,'yes',NULL,'0.5','2026-11-25T01:07:45.441854+00:00');
CREATE TABLE verdicts (
	id VARCHAR NOT NULL, 
	workload VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	run_id VARCHAR, 
	decided_at VARCHAR NOT NULL, 
	valid_until VARCHAR NOT NULL, 
	verdict TEXT NOT NULL, 
	evidence_digest VARCHAR NOT NULL, 
	evidence BLOB, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_verdicts PRIMARY KEY (id), 
	CONSTRAINT fk_verdicts_run_id FOREIGN KEY(run_id) REFERENCES runs (id)
);
INSERT INTO "verdicts" VALUES('01a2103e-90aa-7599-b7ec-d7b0e82833c9','support','switch','01a2103e-9095-7e42-aa00-3148e10fead4','2026-11-25T00:00:00+00:00','2027-02-23T00:00:00+00:00','{"workload":"support","name":"switch","policy":{"kind":"switch","incumbent":"gpt","candidate":"llama","segments":[],"fact":"segment"},"incumbent":"gpt","candidates":["llama"],"floor":0.85,"alpha":0.05,"mode":"sequential","sentence":"Switch.","reasons":["because"],"would_change":[],"certificates":[{"candidate":"llama","segment":null,"retention":{"value":0.91,"low":0.87,"high":"inf","level":0.95,"n":400,"floor":0.85,"alpha":0.05,"outcome":"pass","p_value":0.001,"p_value_below":"nan","method":"score","incumbent_mean":null,"candidate_mean":null,"discordant":null,"clusters":null,"e_pass":null,"e_fail":null,"needed":null,"reason":null},"adjusted_p":0.002,"certified":true,"share":1.0,"excluded":null,"adjusted_p_below":1.0,"shown_below":false}],"guards":[],"requirements":[],"costs":[],"losses":[],"path":[],"asked":400,"planned":500,"calls_saved":200,"needed":null,"decided_at":"2026-11-25T00:00:00Z","valid_until":"2027-02-23T00:00:00Z","evidence_digest":"e","seed":1,"price_sources":[],"saving_per_month_usd":null,"spent_usd":"1.50","run_id":"01a2103e-9095-7e42-aa00-3148e10fead4","settings":{"floor":0.85,"alpha":0.05,"mode":"fixed","requirements":{"evidence":"plain","context_tokens":null,"regions":[],"licences":[],"latency_p95_ms":null,"ttft_p95_ms":null,"error_rate":null,"documents":[]},"facts":[],"requests_per_month":null,"valid_days":90,"seed":0,"errors_count_as_zero":true,"parity_declared":false,"stated_cost_usd":{},"provided":[]}}','e',X'28B52FFD604603450D00D61A5938704BD301E4EA3F060A0CACF911C348E8AD9B90BDB64D9BBEB4F56006742346A6C8285392B25AAE6C29A5E4FF9FD50CF3FFAF0E24C05A93014E004600470053BD37D375B922CF4C6A5C4440145C2A0D0EB2A5DCE7E12101B820103170A9340460AC6CE6CFC77679AB0D9F07CF0B8193B1D34458280E080C57A7F645B87CF3B2639C8ED1D54F42B624332075088D975491563F7B42C46BA1D2FDF56E117D842D63858965C252F1F76D4E953776FFEB169E5779E32A3B0B76CDC986D6CFF8B3A18FFC63167C48C9A19A30DE5F6FF3C80021827A71EAC6A1EBB05F90A7C6C13B9DEB897E9B5C0F453F23BB277AA7B9954091DCF7F918669582E2D8F0BCB0AD637825082A165CEF3D15DF5FEA9417DB44BCE0749E863BACE3426903D1369D071E0618A2385BB647C23239DB21F77DCECB96685A6E828AA4E191B14AD1404D20EA42CA58C6CB61504A4EAECA7E02E832AF1731052C149FD84CF267EE45B8999AAC0485C4DC0B170041188038E40BDA4CC9389A892F2E3B28EC6331766871F6102356D4332CD586CD823E6369B98B9561DC1094BDCBF4FC71D80240EDC72D0EC2E6DBB4B15C200A','2026-11-25T01:07:45.450913+00:00');
CREATE INDEX ix_runs_workload ON runs (workload);
CREATE INDEX ix_run_events_run_id ON run_events (run_id);
CREATE INDEX ix_responses_request_digest ON responses (request_digest);
CREATE INDEX ix_verdicts_workload ON verdicts (workload, decided_at);
COMMIT;
