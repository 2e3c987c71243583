"""python -m idxdd"""

import sys

from idxdd.service.main import main

sys.exit(main())
