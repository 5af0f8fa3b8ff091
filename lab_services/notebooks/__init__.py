"""The chapters as files: run one and store what it shows, keep its form, and read which concepts it carries.

The committed .ipynb is the only source of a chapter. `render` runs it as a fresh learner would and writes the outputs
into it; `normalised` is the form in which it is committed, so that a diff shows what an author changed and nothing
else; `concepts` reads the table of concepts from the chapters' metadata.

Import this package only where it is used: nbformat alone takes more than a second to import.
"""

from lab_services.notebooks.concept_table import Concept, concept_gaps, concepts
from lab_services.notebooks.form import normalised, read_notebook
from lab_services.notebooks.rendering import RenderReport, chapter_path, processes_of, render

__all__ = [
    "Concept",
    "RenderReport",
    "chapter_path",
    "concept_gaps",
    "concepts",
    "normalised",
    "processes_of",
    "read_notebook",
    "render",
]
