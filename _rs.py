import json
from benchmarks import _settings
from benchmarks._table import now
rows=[{**r,"part":"settings","measured_at":now()} for r in _settings.rows()]
json.dump(rows,open('/tmp/settings_rows.json','w'),default=float)
