"""Makes weights: captioned data, flow matching, distillation, the teacher, and the metrics that judge samples."""
