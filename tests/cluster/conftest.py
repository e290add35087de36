"""What the tests of this folder need: services, started by `cargo xtask test --only cluster` or given."""

import os

# Services that somebody gave us are not ours to kill.
OURS = "redis://:rookery-test@127.0.0.1:16379"

collect_ignore = [] if os.environ.get("ROOKERY_TEST_REDIS") == OURS else ["test_services.py", "test_services_tls.py"]
