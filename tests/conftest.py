"""Every shape written in a signature of `helpers` is checked at each call while the tests run.

The hook works on what is imported after it, so nothing here may import `helpers` earlier.
"""

from jaxtyping import install_import_hook

# The numeric tower lets an int stand where a float is asked for: Python's typing rules do, beartype alone does not.
install_import_hook("helpers", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
