"""Solves a small system of equations with numpy and leaves the answer in result.txt, in the folder that the host mounted."""
import pathlib
import platform

import numpy as np

coefficients = np.array([[3.0, 1.0, -1.0], [1.0, 4.0, 1.0], [2.0, 1.0, 5.0]])
answers = np.array([2.0, 12.0, 19.0])
x = np.linalg.solve(coefficients, answers)
text = f"numpy {np.__version__} on Python {platform.python_version()}: x = {np.round(x, 6).tolist()}"
print(text)
pathlib.Path("result.txt").write_text(text + "\n", encoding="utf-8")
