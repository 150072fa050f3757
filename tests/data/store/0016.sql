BEGIN TRANSACTION;
CREATE TABLE alarm_events (
	id INTEGER NOT NULL, 
	alarm_id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	detail TEXT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_alarm_events PRIMARY KEY (id), 
	CONSTRAINT fk_alarm_events_alarm_id FOREIGN KEY(alarm_id) REFERENCES alarms (id)
);
INSERT INTO "alarm_events" VALUES(1,'01a210c6-9eeb-7570-8cc7-d2688ebd18f0','stepped_down','{"version":2}','2026-11-25T03:36:21.995957+00:00');
CREATE TABLE alarms (
	id VARCHAR NOT NULL, 
	route VARCHAR NOT NULL, 
	verdict_id VARCHAR, 
	segment TEXT, 
	kind VARCHAR NOT NULL, 
	detail TEXT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_alarms PRIMARY KEY (id)
);
INSERT INTO "alarms" VALUES('01a210c6-9eeb-7570-8cc7-d2688ebd18f0','chat','v1',NULL,'change','{"n":1}','2026-11-25T03:00:00+00:00');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0016');
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
INSERT INTO "answers" VALUES('01a2105f-e95d-7699-b90b-0080e44d7d2d','7','gpt',1,1,'q7','greedy','01a2105f-e971-7ddb-8399-3a1d4e055d19',0,NULL,NULL,'2026-11-25T01:44:10.865905+00:00');
INSERT INTO "answers" VALUES('01a2105f-e95d-7699-b90b-0080e44d7d2d','7','llama',1,1,'q7','greedy','01a2105f-e985-73a8-8b52-75fc59f11353',0,NULL,NULL,'2026-11-25T01:44:10.885942+00:00');
CREATE TABLE audits (
	id INTEGER NOT NULL, 
	route VARCHAR NOT NULL, 
	verdict_id VARCHAR, 
	segment TEXT, 
	source VARCHAR NOT NULL, 
	source_id VARCHAR NOT NULL, 
	scorer_digest VARCHAR NOT NULL, 
	incumbent FLOAT, 
	candidate FLOAT, 
	weight FLOAT NOT NULL, 
	explanation TEXT, 
	cost_usd VARCHAR, 
	at VARCHAR NOT NULL, conversation VARCHAR, asked_at VARCHAR, 
	CONSTRAINT pk_audits PRIMARY KEY (id)
);
INSERT INTO "audits" VALUES(1,'chat','v1','de','pair','01a210c6-9ee5-767e-9123-666a4e312abb','scorer',1.0,0.0,20.0,NULL,'0','2026-11-25T03:00:00+00:00',NULL,NULL);
CREATE TABLE baseline_uses (
	baseline_id VARCHAR NOT NULL, 
	number INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	candidate VARCHAR NOT NULL, 
	"key" VARCHAR NOT NULL, 
	alpha FLOAT NOT NULL, 
	purpose VARCHAR NOT NULL, 
	samples TEXT NOT NULL, 
	digest VARCHAR NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_baseline_uses PRIMARY KEY (baseline_id, number), 
	CONSTRAINT fk_baseline_uses_baseline_id FOREIGN KEY(baseline_id) REFERENCES baselines (id)
);
INSERT INTO "baseline_uses" VALUES('01a22500-0000-7000-8000-000000000001',1,'candidate','llama','k',0.008,'evaluate','[]','sha256:1ebae60bcad32f216b4715e55c83214b5a1e8e261f86373dabc0ce75ee76d67c','2026-11-28T12:00:00+00:00');
CREATE TABLE baselines (
	id VARCHAR NOT NULL, 
	workload VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	content TEXT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_baselines PRIMARY KEY (id)
);
INSERT INTO "baselines" VALUES('01a22500-0000-7000-8000-000000000001','support','sha256:ce5001cfd3e7b00cd6337c64230b19920205d19608d371fe0d1be036df435afb','{"id":"01a22500-0000-7000-8000-000000000001","workload":"support","run_id":"01a2105f-e95d-7699-b90b-0080e44d7d2d","sealed_at":"2026-11-28T12:00:00Z","dataset_digest":"sha256:d","design":{"samples":1,"first_samples":1,"first_run":null,"whole_clusters":true,"grown_from":[],"pilot":0,"before":0,"blocks":null,"order":["7"]},"seed":1,"epochs":1,"incumbent":{"model":"gpt","name":"gpt","provider":"openai"},"scorer":{"kind":"exact","options":{}},"scorer_digest":"scorer","floor":0.85,"alpha":0.05,"planned_candidates":5,"expected_retention":0.95,"power":0.8,"samples":[["7","sha256:s"]],"answers":[{"sample_id":"7","epoch":1,"response_id":"01a2105f-e971-7ddb-8399-3a1d4e055d19","digest":"sha256:0d30c54400b1e8cb0c76b6c54bf2baff2601d356b3b5a30022590eafafa01255","error_kind":null,"score":1.0}],"versions":["gpt"],"price":"gpt: $1 in","seen_before":[],"v":1,"digest":""}','2026-11-28T12:00:00+00:00');
CREATE TABLE "batches" (
	id VARCHAR NOT NULL, 
	run_id VARCHAR NOT NULL, 
	offer VARCHAR NOT NULL, 
	batch VARCHAR NOT NULL, 
	request_digests TEXT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_batches PRIMARY KEY (id)
);
CREATE TABLE compatibility (
	id INTEGER NOT NULL, 
	offer VARCHAR NOT NULL, 
	provider VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	host VARCHAR, 
	record TEXT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_compatibility PRIMARY KEY (id)
);
INSERT INTO "compatibility" VALUES(1,'gpt','openai','gpt-4.1',NULL,'{"offer":"gpt","provider":"openai","model":"gpt-4.1","checks":[{"name":"answer","status":"works","seen":"answered by gpt-4.1-2026 after 210 ms","calls":1,"cost_usd":"0.00012"},{"name":"tools","status":"fails","seen":"it answers without calling the tool: no","calls":1,"cost_usd":null}],"host":null,"limits":{"requests_per_minute":500,"requests_per_day":null,"tokens_per_minute":30000,"input_tokens_per_minute":null,"output_tokens_per_minute":null},"served_model":"gpt-4.1-2026","at":"2026-11-28T09:00:00Z"}','2026-11-28T09:00:00+00:00');
CREATE TABLE conform_checks (
	id VARCHAR NOT NULL, 
	offer VARCHAR NOT NULL, 
	record TEXT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_conform_checks PRIMARY KEY (id)
);
INSERT INTO "conform_checks" VALUES('20261129-120000-ab12','llama','{"id":"20261129-120000-ab12","checks":[{"name":"answers","outcome":"agrees","seen":"0.41","expected":"0.42","p_value":0.5,"answers":6}],"fingerprint":{"offer":"llama","provider":"openai","model":"llama-x","digest":"sha256:00","at":"2026-11-29T12:00:00Z","host":null,"version":"llama-1"},"alpha":0.01,"against":{"offer":"gpt","provider":"openai","model":"gpt-x","digest":"sha256:00","at":"2026-11-29T12:00:00Z","host":null,"version":"gpt-1"},"answers":{"00/t0":["a","a"]},"calls":12,"cost_usd":"0.01"}','2026-11-29T12:00:00+00:00');
CREATE TABLE conform_days (
	id INTEGER NOT NULL, 
	check_id VARCHAR NOT NULL, 
	offer VARCHAR NOT NULL, 
	record TEXT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_conform_days PRIMARY KEY (id)
);
INSERT INTO "conform_days" VALUES(1,'20261129-120000-ab12','llama','{"check_id":"20261129-120000-ab12","offer":"llama","day":1,"outcome":"accepted","at":"2026-11-29T12:00:00Z","reason":null,"answers":{"00/t0":["a"]},"state":{},"version":null,"e_value":0.9,"threshold":7300.0,"differing":[],"calls":1,"cost_usd":"0"}','2026-11-29T12:00:00+00:00');
CREATE TABLE designs (
	id INTEGER NOT NULL, 
	run_id VARCHAR NOT NULL, 
	design TEXT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_designs PRIMARY KEY (id), 
	CONSTRAINT fk_designs_run_id FOREIGN KEY(run_id) REFERENCES runs (id)
);
INSERT INTO "designs" VALUES(1,'01a2105f-e95d-7699-b90b-0080e44d7d2d','{"samples":1,"first_samples":1,"first_run":null,"whole_clusters":true,"pilot":0,"before":0,"blocks":null}','2026-11-25T03:00:00+00:00');
CREATE TABLE dossiers (
	number INTEGER NOT NULL, 
	id VARCHAR NOT NULL, 
	workload VARCHAR NOT NULL, 
	made_at VARCHAR NOT NULL, 
	valid_until VARCHAR NOT NULL, 
	dossier TEXT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_dossiers PRIMARY KEY (number), 
	UNIQUE (id)
);
INSERT INTO "dossiers" VALUES(1,'01a2270b-7005-7b5c-bcc5-c5156916347b','support','2026-11-29T00:00:00+00:00','2027-02-27T00:00:00+00:00','{"workload":"support","models":[{"name":"gpt","part":"incumbent","provider":"openai","model":"gpt-4.1","licence":null,"weights_sha256":null,"basis":{"model":"sha256:0"}}],"fields":[{"number":1,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":2,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":3,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":4,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":5,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":6,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":7,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":8,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":9,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":10,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":11,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":12,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":13,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":14,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":15,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":16,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]},{"number":17,"status":"missing","facts":[],"gaps":["nobody shows it"],"evidence_id":null,"digest":null,"at":null,"author":null,"expires":null,"attachments":[]}],"controls":[],"frameworks":[],"made_at":"2026-11-29T00:00:00Z","valid_until":"2027-02-27T00:00:00Z","verdict_id":null,"lacks":[],"findings":[],"package_version":"0.3.0"}','2026-11-29T11:23:10.725457+00:00');
CREATE TABLE feedback (
	id VARCHAR NOT NULL, 
	response_id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	value FLOAT NOT NULL, 
	route VARCHAR, 
	verdict_id VARCHAR, 
	segment TEXT, 
	side VARCHAR, 
	probability FLOAT, 
	at VARCHAR NOT NULL, run VARCHAR, 
	CONSTRAINT pk_feedback PRIMARY KEY (id)
);
INSERT INTO "feedback" VALUES('01a210c6-9ee7-7859-ae35-408b696f4901','r-llama','resolved',1.0,NULL,NULL,NULL,NULL,NULL,'2026-11-25T03:00:00+00:00','f00d');
CREATE TABLE keepers (
	id VARCHAR NOT NULL, 
	segment VARCHAR NOT NULL, 
	position BIGINT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_keepers PRIMARY KEY (id)
);
CREATE TABLE key_events (
	id INTEGER NOT NULL, 
	key_id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	detail TEXT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_key_events PRIMARY KEY (id)
);
CREATE TABLE label_actions (
	number INTEGER NOT NULL, 
	id VARCHAR NOT NULL, 
	subject VARCHAR NOT NULL, 
	item VARCHAR NOT NULL, 
	rater_id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	scores TEXT, 
	reason VARCHAR, 
	note TEXT NOT NULL, 
	undoes VARCHAR, 
	shown_at VARCHAR, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_label_actions PRIMARY KEY (number), 
	CONSTRAINT fk_label_actions_rater_id FOREIGN KEY(rater_id) REFERENCES label_raters (id)
);
INSERT INTO "label_actions" VALUES(1,'a1','run:01a2105f-e95d-7699-b90b-0080e44d7d2d','02412bd1aaa182fd','01a22500-0000-7000-8000-000000000003','score','[1.0,0.5]',NULL,'n',NULL,'2026-11-29T12:00:00+00:00','2026-11-29T12:00:09+00:00');
CREATE TABLE label_draws (
	id VARCHAR NOT NULL, 
	subject VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	scale VARCHAR NOT NULL, 
	seed BIGINT NOT NULL, 
	settings TEXT NOT NULL, 
	items BLOB NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_label_draws PRIMARY KEY (id)
);
INSERT INTO "label_draws" VALUES('01a22500-0000-7000-8000-000000000002','run:01a2105f-e95d-7699-b90b-0080e44d7d2d','random','graded',1,'{"overlap":0.0}',X'28B52FFD2047ED010054037B22647261776E223A5B2230323431326264316161613138326664225D2C2270726F626162696C6974696573223A7B3A312E307D7D0100479E2A03','2026-11-29T12:00:00+00:00');
CREATE TABLE label_links (
	digest VARCHAR NOT NULL, 
	rater_id VARCHAR NOT NULL, 
	ends_at VARCHAR NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_label_links PRIMARY KEY (digest), 
	CONSTRAINT fk_label_links_rater_id FOREIGN KEY(rater_id) REFERENCES label_raters (id)
);
INSERT INTO "label_links" VALUES('b1b1bdb480c61d075300d9bff7d9cb69cf31695ea048e478facadf426e8d0fb0','01a22500-0000-7000-8000-000000000003','2026-12-06T12:00:00+00:00','2026-11-29T03:38:34.861829+00:00');
CREATE TABLE label_rater_events (
	id INTEGER NOT NULL, 
	rater_id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_label_rater_events PRIMARY KEY (id), 
	CONSTRAINT fk_label_rater_events_rater_id FOREIGN KEY(rater_id) REFERENCES label_raters (id)
);
INSERT INTO "label_rater_events" VALUES(1,'01a22500-0000-7000-8000-000000000003','suspended','2026-11-29T03:38:34.865064+00:00');
INSERT INTO "label_rater_events" VALUES(2,'01a22500-0000-7000-8000-000000000003','resumed','2026-11-29T03:38:34.869110+00:00');
CREATE TABLE label_raters (
	id VARCHAR NOT NULL, 
	subject VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	is_owner BOOLEAN NOT NULL, 
	quota INTEGER, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_label_raters PRIMARY KEY (id)
);
INSERT INTO "label_raters" VALUES('01a22500-0000-7000-8000-000000000003','run:01a2105f-e95d-7699-b90b-0080e44d7d2d','Ada',0,5,'2026-11-29T12:00:00+00:00');
CREATE TABLE label_sessions (
	link_digest VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_label_sessions PRIMARY KEY (link_digest), 
	CONSTRAINT fk_label_sessions_link_digest FOREIGN KEY(link_digest) REFERENCES label_links (digest)
);
INSERT INTO "label_sessions" VALUES('b1b1bdb480c61d075300d9bff7d9cb69cf31695ea048e478facadf426e8d0fb0','3f3af1ecebbd1410ab417ec0d27bbfcb5d340e177ae159b59fc8626c2dfd9175','2026-11-29T03:38:34.863202+00:00');
CREATE TABLE ledger_checkpoints (
	size BIGINT NOT NULL, 
	note TEXT NOT NULL, 
	is_cosigned BOOLEAN NOT NULL, 
	CONSTRAINT pk_ledger_checkpoints PRIMARY KEY (size)
);
CREATE TABLE ledger_entries (
	seq BIGINT NOT NULL, 
	body BLOB NOT NULL, 
	payload BLOB, 
	subject VARCHAR, 
	CONSTRAINT pk_ledger_entries PRIMARY KEY (seq)
);
INSERT INTO "ledger_entries" VALUES(0,X'7B226174223A22323032362D31312D32395430373A33313A32322E3537313033395A222C2264657461696C223A7B226E223A307D2C226B696E64223A22616363657373222C22736571223A302C2276223A317D',NULL,NULL);
INSERT INTO "ledger_entries" VALUES(1,X'7B226174223A22323032362D31312D32395430373A33313A32322E3537313033395A222C2264657461696C223A7B226E223A317D2C226B696E64223A22616363657373222C22736571223A312C2276223A317D',NULL,NULL);
INSERT INTO "ledger_entries" VALUES(2,X'7B226174223A22323032362D31312D32395430373A33313A32322E3537313033395A222C2264657461696C223A7B226E223A327D2C226B696E64223A22616363657373222C22736571223A322C2276223A317D',NULL,NULL);
INSERT INTO "ledger_entries" VALUES(3,X'7B226174223A22323032362D31312D32395431313A32333A31302E3732373733335A222C2264657461696C223A7B22646967657374223A227368613235363A31333435386538343239393137353637326137303661333466643537643434333661663862306566636637353835623434343539613365666165613465656130222C226964223A2230316132323730622D373030352D376235632D626363352D633531353639313633343762222C226D6164655F6174223A22323032362D31312D32395430303A30303A30302B30303A3030222C226D697373696E67223A5B312C322C332C342C352C362C372C382C392C31302C31312C31322C31332C31342C31352C31362C31375D2C226D6F64656C73223A5B22677074225D2C2276616C69645F756E74696C223A22323032372D30322D32375430303A30303A30302B30303A3030222C2276657264696374223A6E756C6C2C22776F726B6C6F6164223A22737570706F7274227D2C226B696E64223A22646F7373696572222C22736571223A332C2276223A317D',NULL,NULL);
CREATE TABLE ledger_head (
	id INTEGER NOT NULL, 
	size BIGINT NOT NULL, 
	frontier BLOB NOT NULL, 
	CONSTRAINT pk_ledger_head PRIMARY KEY (id)
);
INSERT INTO "ledger_head" VALUES(1,4,X'B797500655F3B0F159B8A7CBEBC6E53E5E1AF14FB9B2F17550BCC9AD399B64FA');
CREATE TABLE ledger_keys (
	subject VARCHAR NOT NULL, 
	wrapped BLOB NOT NULL, 
	CONSTRAINT pk_ledger_keys PRIMARY KEY (subject)
);
CREATE TABLE ledger_nodes (
	level INTEGER NOT NULL, 
	number BIGINT NOT NULL, 
	hash BLOB NOT NULL, 
	CONSTRAINT pk_ledger_nodes PRIMARY KEY (level, number)
)
 WITHOUT ROWID

;
INSERT INTO "ledger_nodes" VALUES(1,0,X'DE5CB9526FAADA183BC412B592482E48C1D11AEAC0911271183DB001830F45D4');
INSERT INTO "ledger_nodes" VALUES(1,1,X'6D0D3BF1836A120C5167D28C073D3BCF20F6055E7E234B68D31D72C85B1C0838');
INSERT INTO "ledger_nodes" VALUES(2,0,X'B797500655F3B0F159B8A7CBEBC6E53E5E1AF14FB9B2F17550BCC9AD399B64FA');
CREATE TABLE limit_leases (
	keeper VARCHAR NOT NULL, 
	scope VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	unit VARCHAR NOT NULL, 
	window_s BIGINT NOT NULL, 
	begins BIGINT NOT NULL, 
	leased BIGINT NOT NULL, 
	CONSTRAINT pk_limit_leases PRIMARY KEY (keeper, scope, name, unit, window_s, begins)
);
CREATE TABLE limit_windows (
	scope VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	unit VARCHAR NOT NULL, 
	window_s BIGINT NOT NULL, 
	begins BIGINT NOT NULL, 
	spent BIGINT NOT NULL, 
	leased BIGINT NOT NULL, 
	CONSTRAINT pk_limit_windows PRIMARY KEY (scope, name, unit, window_s, begins)
);
CREATE TABLE onboarding_steps (
	id INTEGER NOT NULL, 
	offer VARCHAR NOT NULL, 
	workload VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	detail TEXT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_onboarding_steps PRIMARY KEY (id)
);
CREATE TABLE pair_answers (
	pair_id VARCHAR NOT NULL, 
	side VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	response_id VARCHAR, 
	text TEXT, 
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
	error TEXT, images INTEGER, 
	CONSTRAINT pk_pair_answers PRIMARY KEY (pair_id, side), 
	CONSTRAINT fk_pair_answers_pair_id FOREIGN KEY(pair_id) REFERENCES pairs (id)
);
INSERT INTO "pair_answers" VALUES('01a210c6-9ee5-767e-9123-666a4e312abb','incumbent','gpt','r-gpt','yes',NULL,'stop','gpt-2026',NULL,12,3,NULL,NULL,NULL,'0.00012',NULL,NULL,NULL,NULL);
INSERT INTO "pair_answers" VALUES('01a210c6-9ee5-767e-9123-666a4e312abb','candidate','llama','r-llama','no',NULL,'stop','llama-2026',NULL,12,3,NULL,NULL,NULL,'0.00012',NULL,NULL,NULL,NULL);
INSERT INTO "pair_answers" VALUES('01a210c6-9ee5-767e-9123-666a4e312abc','candidate','llama',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'0.0001',NULL,NULL,NULL,NULL);
INSERT INTO "pair_answers" VALUES('01a210c6-9ee5-767e-9123-666a4e312abc','incumbent','gpt',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'0',NULL,NULL,'budget',NULL);
CREATE TABLE pairs (
	id VARCHAR NOT NULL, 
	route VARCHAR NOT NULL, 
	verdict_id VARCHAR, 
	request_id VARCHAR NOT NULL, 
	segment TEXT, 
	endpoint VARCHAR NOT NULL, 
	request BLOB, 
	served_by VARCHAR NOT NULL, 
	probability FLOAT NOT NULL, 
	at VARCHAR NOT NULL, conversation VARCHAR, score FLOAT, missed VARCHAR, run VARCHAR, 
	CONSTRAINT pk_pairs PRIMARY KEY (id)
);
INSERT INTO "pairs" VALUES('01a210c6-9ee5-767e-9123-666a4e312abb','chat','v1','q1','de','/v1/chat/completions',X'7B226D6F64656C223A2263686174222C226D65737361676573223A5B5D7D','candidate',0.05,'2026-11-25T03:00:00+00:00',NULL,NULL,NULL,'f00d');
INSERT INTO "pairs" VALUES('01a210c6-9ee5-767e-9123-666a4e312abc','chat','v1','q2','de','/v1/chat/completions',NULL,'candidate',0.05,'2026-11-25T03:00:00+00:00','c0ffee',0.25,'budget','f00d');
CREATE TABLE probes (
	id VARCHAR NOT NULL, 
	offer VARCHAR NOT NULL, 
	settings_digest VARCHAR NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_probes PRIMARY KEY (id)
);
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
	at VARCHAR NOT NULL, images INTEGER, vector BLOB, logprobs TEXT, 
	CONSTRAINT pk_responses PRIMARY KEY (id)
);
INSERT INTO "responses" VALUES('01a2105f-e971-7ddb-8399-3a1d4e055d19','request','gpt','yes','[{"id":"c","name":"look","arguments":"{\"a\": 1}"}]','stop','gpt-2026',NULL,12,3,NULL,NULL,NULL,'0.00012',12.5,NULL,'2026-11-25T01:44:10.865885+00:00',NULL,NULL,NULL);
INSERT INTO "responses" VALUES('01a2105f-e985-73a8-8b52-75fc59f11353','r2','llama','no','[{"id":"c","name":"look","arguments":"{\"a\": 1}"}]','stop','gpt-2026',NULL,12,3,NULL,NULL,NULL,'0.00012',12.5,NULL,'2026-11-25T01:44:10.885924+00:00',NULL,NULL,NULL);
CREATE TABLE route_tables (
	version BIGINT NOT NULL, 
	digest VARCHAR NOT NULL, 
	content BLOB NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_route_tables PRIMARY KEY (version)
);
CREATE TABLE run_events (
	id INTEGER NOT NULL, 
	run_id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	detail TEXT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_run_events PRIMARY KEY (id), 
	CONSTRAINT fk_run_events_run_id FOREIGN KEY(run_id) REFERENCES runs (id)
);
INSERT INTO "run_events" VALUES(1,'01a2105f-e95d-7699-b90b-0080e44d7d2d','running','{}','2026-11-25T01:44:10.857875+00:00');
INSERT INTO "run_events" VALUES(2,'01a2105f-e95d-7699-b90b-0080e44d7d2d','finished','{"reason":"certain"}','2026-11-25T01:44:10.893855+00:00');
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
INSERT INTO "runs" VALUES('01a2105f-e95d-7699-b90b-0080e44d7d2d','support','d','{"floor":0.85,"models":["a","b"]}','s',7,10,'2026-11-25T01:44:10.846009+00:00');
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
INSERT INTO "samples" VALUES('01a2105f-e95d-7699-b90b-0080e44d7d2d','7',0,'de',NULL,2.0,'Is it?','yes');
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
INSERT INTO "scores" VALUES('01a2105f-e95d-7699-b90b-0080e44d7d2d','7','gpt',1,1,'scorer',1.0,0,'yes',NULL,'0.5','2026-11-25T01:44:10.865922+00:00');
INSERT INTO "scores" VALUES('01a2105f-e95d-7699-b90b-0080e44d7d2d','7','llama',1,1,'scorer',0.0,0,'yes',NULL,'0.5','2026-11-25T01:44:10.885956+00:00');
CREATE TABLE served_runs (
	id VARCHAR NOT NULL, 
	route VARCHAR NOT NULL, 
	start TEXT NOT NULL, 
	is_mixed BOOLEAN NOT NULL, 
	is_down BOOLEAN NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_served_runs PRIMARY KEY (id)
);
INSERT INTO "served_runs" VALUES('f00d','chat','{"offer":"gpt","moved":true}',1,0,'2026-11-29T15:09:11.762669+00:00');
CREATE TABLE tuning_steps (
	id INTEGER NOT NULL, 
	tuning_id VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	number INTEGER NOT NULL, 
	detail TEXT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_tuning_steps PRIMARY KEY (id), 
	CONSTRAINT fk_tuning_steps_tuning_id FOREIGN KEY(tuning_id) REFERENCES tunings (id)
);
INSERT INTO "tuning_steps" VALUES(1,'01a25120-0000-7000-8000-000000000001','trial',1,'{"name":"as it was"}','2026-11-29T15:00:00+00:00');
CREATE TABLE tunings (
	id VARCHAR NOT NULL, 
	workload VARCHAR NOT NULL, 
	candidate VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	settings TEXT NOT NULL, 
	settings_digest VARCHAR NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_tunings PRIMARY KEY (id)
);
INSERT INTO "tunings" VALUES('01a25120-0000-7000-8000-000000000001','support','llama','port','{"split":{"certification":[],"development":["7"]}}','0000000000000000000000000000000000000000000000000000000000000000','2026-11-29T15:00:00+00:00');
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
INSERT INTO "verdicts" VALUES('01a2105f-e995-79f0-927c-405d74bfdba3','support','switch','01a2105f-e95d-7699-b90b-0080e44d7d2d','2026-11-25T00:00:00+00:00','2027-02-23T00:00:00+00:00','{"workload":"support","name":"switch","policy":{"kind":"switch","incumbent":"gpt","candidate":"llama","segments":[],"fact":"segment"},"incumbent":"gpt","candidates":["llama"],"floor":0.85,"alpha":0.05,"mode":"sequential","sentence":"Switch.","reasons":["because"],"would_change":[],"certificates":[{"candidate":"llama","segment":null,"retention":{"value":0.91,"low":0.87,"high":"inf","level":0.95,"n":400,"floor":0.85,"alpha":0.05,"outcome":"pass","p_value":0.001,"p_value_below":"nan","method":"score","incumbent_mean":null,"candidate_mean":null,"discordant":null,"clusters":null,"e_pass":null,"e_fail":null,"needed":null,"reason":null},"adjusted_p":0.002,"certified":true,"share":1.0,"excluded":null,"adjusted_p_below":1.0,"shown_below":false}],"guards":[],"requirements":[],"costs":[],"losses":[],"path":[],"asked":400,"planned":500,"calls_saved":200,"needed":null,"decided_at":"2026-11-25T00:00:00Z","valid_until":"2027-02-23T00:00:00Z","evidence_digest":"e","seed":1,"price_sources":[],"saving_per_month_usd":null,"spent_usd":"1.50","run_id":"01a2105f-e95d-7699-b90b-0080e44d7d2d","settings":{"floor":0.85,"alpha":0.05,"mode":"fixed","requirements":{"evidence":"plain","context_tokens":null,"regions":[],"licences":[],"latency_p95_ms":null,"ttft_p95_ms":null,"error_rate":null,"documents":[]},"facts":[],"requests_per_month":null,"valid_days":90,"seed":0,"errors_count_as_zero":true,"parity_declared":false,"stated_cost_usd":{},"provided":[]}}','e',X'28B52FFD605003750D00769B5A37604BD306D410223640FCE61F3DD5D6C5F9B66664BF1D82F1AA30561002F55BCB8CE096DCFAB8B43B454A2C8A0288CE1500B8D6E07DBAC9500048004800CB677A876AB1CB8D3D33A87111016170A9343C482825D3070814E0A240E4C0A5D21880C1122AA71FD9C5F1828F46F866C89BAA9B26C2427100C0F0D512BBF8D6372F618CD3316BA19390509221803E04FC2066BD324560FA092BD45E7E69F1EFBB45FDF8A08C172696094BC5DF99B5959C75FB67C7F0CDAB39F2EA66D18D35099FFD197FC2E723FF98062110F29726AAF9D76D1E1B244C081216906A2ECEB5712C76D4EFEBA981F06DCDA5F599C9FDA7FE8CDD687D8735963C55F2FB740AC38B82E2E8F0CD8FB1639A25092AF6AD73B4E2FCBBDAEA559BDAFBA6431BEE281803F59D9B8265275399AD89803AD050E38492510AACE484FEB8B3735E4289064A5E5081383C3278513C481348CA803258F53AEA41A8495E1252018BBBD7458C010BC5273883FC557391862A4D38170041188038E40BDA4CC9389A892F2E3B28EC6331766871F6102356D4332CD586CD823E6369B98B9561DC1094BDCBF4FC71D80240EDC72D0EC2E6DBB4B15C200A','2026-11-25T01:44:10.902398+00:00');
CREATE TABLE watch_states (
	id INTEGER NOT NULL, 
	route VARCHAR NOT NULL, 
	verdict_id VARCHAR, 
	segment TEXT, 
	scorer_digest VARCHAR NOT NULL, 
	last_audit INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	at VARCHAR NOT NULL, 
	CONSTRAINT pk_watch_states PRIMARY KEY (id)
);
INSERT INTO "watch_states" VALUES(1,'chat','v1',NULL,'scorer',1,'{"n":1}','2026-11-25T03:00:00+00:00');
CREATE INDEX ix_runs_workload ON runs (workload);
CREATE INDEX ix_run_events_run_id ON run_events (run_id);
CREATE INDEX ix_responses_request_digest ON responses (request_digest);
CREATE INDEX ix_verdicts_workload ON verdicts (workload, decided_at);
CREATE INDEX ix_pairs_route ON pairs (route);
CREATE INDEX ix_pair_answers_response_id ON pair_answers (response_id);
CREATE INDEX ix_feedback_response_id ON feedback (response_id);
CREATE INDEX ix_audits_route ON audits (route, id);
CREATE UNIQUE INDEX ix_audits_source_id ON audits (source_id, scorer_digest);
CREATE INDEX ix_watch_states_route ON watch_states (route, id);
CREATE INDEX ix_alarms_route ON alarms (route);
CREATE INDEX ix_alarm_events_alarm_id ON alarm_events (alarm_id);
CREATE INDEX ix_onboarding_steps_offer ON onboarding_steps (offer, workload);
CREATE INDEX ix_designs_run_id ON designs (run_id);
CREATE INDEX ix_batches_run_id ON batches (run_id);
CREATE INDEX ix_compatibility_offer ON compatibility (offer, id);
CREATE INDEX ix_baselines_workload ON baselines (workload, at);
CREATE INDEX ix_label_draws_subject ON label_draws (subject);
CREATE INDEX ix_label_raters_subject ON label_raters (subject);
CREATE INDEX ix_label_links_rater_id ON label_links (rater_id);
CREATE UNIQUE INDEX ix_label_sessions_digest ON label_sessions (digest);
CREATE INDEX ix_label_rater_events_rater_id ON label_rater_events (rater_id);
CREATE UNIQUE INDEX ix_label_actions_id ON label_actions (id);
CREATE INDEX ix_label_actions_subject ON label_actions (subject, number);
CREATE INDEX ix_ledger_entries_subject ON ledger_entries (subject) WHERE subject IS NOT NULL;
CREATE INDEX ix_dossiers_workload ON dossiers (workload);
CREATE INDEX ix_served_runs_at ON served_runs (at);
CREATE INDEX ix_pairs_run ON pairs (run);
CREATE INDEX ix_feedback_run ON feedback (run);
CREATE INDEX ix_tunings_workload ON tunings (workload);
CREATE INDEX ix_tuning_steps_tuning_id ON tuning_steps (tuning_id);
CREATE INDEX ix_conform_checks_offer ON conform_checks (offer, at);
CREATE INDEX ix_conform_days_check_id ON conform_days (check_id);
COMMIT;
