"""Search pipelines on scikit-learn's digits, train the best to the end, export it, and use it without ma2ml.

    python examples/search_and_export.py runs/example

Killed and started again, it goes on where it stood. The budget is small, so that it ends in a minute or two.
"""

import json
import subprocess
import sys
from pathlib import Path

from ma2ml_agents.cli.main import main
from ma2ml_env import TrialStore

if __name__ == "__main__":  # worker processes import this file
    run = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example")
    small = ["--budget", "24", "--batch", "12", "--set", "proxy_epochs=1", "--set", "final_epochs=4"]
    for command in (
        ["search", "digits-v0", "--run", str(run), *small],  # the default learner, `ma2ml_exact`, proposes
        ["retrain", str(run), "--top-k", "2", "--repeats", "1"],
        ["export", str(run)],
    ):
        if code := main(command):  # the command line as a function
            sys.exit(code)

    with TrialStore(run, create=False) as store:
        best = max(store.trials(), key=lambda trial: trial.reward)
    card = json.loads((run / "export" / "card.json").read_text())
    print(f"search: trial {best.number} is best, validation accuracy {best.outcome.accuracy:.3f} after 1 epoch")
    print(f"export: trial {card['trial']}, test accuracy {card['test_accuracy']:.3f} after 4 epochs")
    subprocess.run([sys.executable, str(run / "export" / "model.py")], check=True)  # needs torch and torchvision alone
