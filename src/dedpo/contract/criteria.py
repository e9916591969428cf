"""What a judge compares two pictures by: its question, its verdicts, the report and the decision name the same."""

from __future__ import annotations

from typing import Final

# All in all; it decides on a promotion.
OVERALL: Final = "general_preference"
APPEAL: Final = "visual_appeal"
ALIGNMENT: Final = "prompt_alignment"
# Name in tables → in print, as in the DeDPO paper (section 5, 'AI as a judge') and Diffusion-DPO; the first that was
# judged is the one held against the metric.
CRITERIA: Final = {OVERALL: "General Preference", APPEAL: "Visual Appeal", ALIGNMENT: "Prompt Alignment"}
